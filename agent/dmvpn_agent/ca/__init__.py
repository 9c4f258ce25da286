"""The certificate authority: who has which address, prefix and AS number, and certificates that say so."""
