"""What PostgreSQL needs beside the first tables: 64-bit ids, full text. SQLite has both already. Revision 0002."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COUNTED = ("chunk", "cache", "vector", "job")
_REFERRING = (("cache", "chunk_id"), ("vector", "chunk_id"))


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, column in (*((table, "id") for table in _COUNTED), *_REFERRING):
        op.alter_column(table, column, type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
    for table in _COUNTED:
        op.execute(f"ALTER SEQUENCE {table}_id_seq AS bigint")
    # English word stems and no stop words; words of other scripts stay as they are.
    op.execute("CREATE TEXT SEARCH DICTIONARY percel_stem (TEMPLATE = snowball, LANGUAGE = english)")
    op.create_table(
        "passage_text",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collection_id", sa.String(length=32), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("terms", TSVECTOR(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passage_text")),
    )
    # Ranking reads many rows: whole and in place, not compressed and elsewhere.
    op.execute("ALTER TABLE passage_text SET (toast_tuple_target = 8160)")
    # Without the list of pending entries, which every search would have to read through.
    op.execute("CREATE INDEX ix_passage_text_terms ON passage_text USING gin (terms) WITH (fastupdate = off)")
    op.create_table(
        "passage_text_total",
        sa.Column("collection_id", sa.String(length=32), nullable=False),
        sa.Column("passages", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_passage_text_total_collection_id", "passage_text_total", ["collection_id"])
