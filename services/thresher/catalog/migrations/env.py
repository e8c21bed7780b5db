"""Run by Alembic: over the connection of `schema.upgrade`, or as SQL text for `schema.ddl`."""

from alembic import context

attributes = context.config.attributes
if context.is_offline_mode():
    context.configure(dialect_name=attributes["dialect"], literal_binds=True)
else:
    # Both databases can take back DDL, so that a migration is done whole or not at all.
    context.configure(connection=attributes["connection"], transactional_ddl=True)

with context.begin_transaction():
    context.run_migrations()
