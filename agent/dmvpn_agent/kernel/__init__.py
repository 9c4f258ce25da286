"""The tunnel interfaces and the redirect rule, by netlink and nftables."""
