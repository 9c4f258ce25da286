"""What any process needs: programs, sockets, storage, back-off, logging, metrics. Nothing here is about DMVPN."""
