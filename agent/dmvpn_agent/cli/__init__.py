"""The commands of ``dmvpn-agent``."""
