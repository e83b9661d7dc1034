"""Runs migrations on the connection that controller/treasury/database.py hands over."""

from alembic import context

from controller.treasury.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
