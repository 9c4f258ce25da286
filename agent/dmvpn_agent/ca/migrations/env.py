"""What Alembic runs: ``database`` gives it a connection with a transaction."""

from alembic import context

from dmvpn_agent.ca.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
