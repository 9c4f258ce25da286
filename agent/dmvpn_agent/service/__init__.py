"""Asyncio behaviours over narrow typed boundaries; they know no socket, program or library."""
