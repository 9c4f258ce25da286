"""Whether this node is put together correctly."""
