"""Answers nhrpd's authorize-binding requests; keeps accepted peers and denials, and what survives a restart."""
