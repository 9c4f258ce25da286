"""A node from one file: what its configuration must be, and how to get there and back."""
