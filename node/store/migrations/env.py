"""Alembic runs this; the connection is given by `Database`, or for new revisions an empty database in memory."""

from alembic import context
from sqlalchemy import create_engine

from node.store.models import Base

connection = context.config.attributes.get("connection") or create_engine("sqlite://").connect()
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
