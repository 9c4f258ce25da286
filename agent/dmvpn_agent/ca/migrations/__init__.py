"""Alembic's migrations of the registry."""
