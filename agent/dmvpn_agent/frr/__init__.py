"""The ways to FRR: vtysh and the daemons' vty sockets, and what they print."""
