"""This node's own certificate: renewed by EST (RFC 7030) before it ends, and put to use without losing a packet."""
