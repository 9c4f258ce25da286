"""Thin edges, one per real thing: nhrpd, charon, vtysh, nftables, the kernel, SQLite, HTTP."""
