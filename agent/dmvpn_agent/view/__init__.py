"""The state of the agent, as commands show it."""
