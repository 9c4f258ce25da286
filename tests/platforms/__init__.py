"""The checkout on the systems it is for: each a root out of the package registries, with namespaces of its own."""
