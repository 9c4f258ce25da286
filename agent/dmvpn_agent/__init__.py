"""Control plane of a Linux DMVPN node: who may join, what they may announce, and whether it still holds."""

__version__ = "0.1.0"
