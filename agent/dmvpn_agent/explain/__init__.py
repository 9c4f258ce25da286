"""``explain``: the decision on a certificate with every check, without a peer that uses it."""
