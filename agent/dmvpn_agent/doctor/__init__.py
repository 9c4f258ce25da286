"""Checks the setup of this node."""
