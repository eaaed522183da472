"""Owns how Alembic runs here: on the connection, and inside the transaction, that `store.database.migrate` opened."""

from alembic import context
from sqlalchemy import Connection

from store.models import Base

connection = context.config.attributes["connection"]
assert isinstance(connection, Connection), "run migrations through store.database.migrate"
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
