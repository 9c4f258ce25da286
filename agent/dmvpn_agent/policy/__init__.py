"""The operator's rules, and the Judge that applies them. It does no I/O."""
