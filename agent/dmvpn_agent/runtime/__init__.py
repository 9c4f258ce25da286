"""What any process needs: programs, sockets, storage, back-off, logging, metrics. It knows nothing of a DMVPN."""
