"""The page: what operators see of one node, or of several, in a browser."""
