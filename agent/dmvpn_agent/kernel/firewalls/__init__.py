"""The rules of other programs in the kernel: which one drops a packet of the DMVPN."""
