"""The agent's chain of iptables and ip6tables: what it has of the redirect and multicast rules without nftables."""
