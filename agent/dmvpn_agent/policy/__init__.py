"""The operator's rules, and the judge that applies them. Pure."""
