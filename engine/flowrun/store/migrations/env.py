"""Alembic's entry: run over the connection that the store hands in."""

from alembic import context

from flowrun.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
with context.begin_transaction():
    context.run_migrations()
