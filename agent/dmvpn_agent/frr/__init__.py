"""FRR's command line, by vtysh and the daemons' vty sockets, and the output of its commands."""
