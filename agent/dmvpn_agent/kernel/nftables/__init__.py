"""The agent's nftables table: its sections, and the reconciler that keeps it as they say."""
