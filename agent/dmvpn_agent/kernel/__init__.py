"""The tunnel interfaces and the redirect rule: netlink and nftables."""
