"""The lab: DMVPN nodes on one machine, each with the real daemons in namespaces of its own."""
