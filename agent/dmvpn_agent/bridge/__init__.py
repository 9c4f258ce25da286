"""The second process: what nhrpd needs and an unpatched strongSwan does not give."""
