"""Owns the history of the schema. `alembic revision --autogenerate` writes the next file; see env.py."""
