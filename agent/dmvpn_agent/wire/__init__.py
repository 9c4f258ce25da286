"""Codecs between untrusted bytes or text and core values. Pure: no I/O, bounded work."""
