"""Owns what an API key may do. Apart from the tables, so that commands can name scopes without loading SQLAlchemy."""

from enum import StrEnum


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"  # search, ask, list, read
    INGEST = "ingest"  # upload, delete documents
    ADMIN = "admin"  # all of that, collections, and the tenant's keys, webhooks and dead jobs
