"""The agent's own routing tables and rules."""
