"""What the service needs: tenants on documents, fair claims, keys, idempotent replies, webhooks. Revision 0003."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LIVE = sa.text("state IN ('queued', 'running')")


def upgrade() -> None:
    op.add_column("collection", sa.Column("served_at", sa.Double(), nullable=False, server_default="0"))
    op.add_column("document", sa.Column("tenant", sa.String(length=63), nullable=False, server_default="default"))
    op.execute("UPDATE document SET tenant = (SELECT tenant FROM collection WHERE id = document.collection_id)")
    _collections_of_jobs()
    _nodes_of_generations()
    _keys()
    _webhooks()


def _nodes_of_generations() -> None:
    # Index files are a rebuildable view: a generation of no known node is dropped and written anew when it is due.
    op.drop_table("generation")
    op.create_table(
        "generation",
        sa.Column("collection_id", sa.String(length=32), nullable=False),
        sa.Column("embedder", sa.String(length=200), nullable=False),
        sa.Column("node", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("max_seq", _BIG, nullable=False),
        sa.Column("vectors", _BIG, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("faiss_version", sa.String(length=50), nullable=False),
        sa.Column("file", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collection.id"],
            name=op.f("fk_generation_collection_id_collection"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", "embedder", "node", "number", name=op.f("pk_generation")),
    )


def _collections_of_jobs() -> None:
    op.drop_index("uq_job_live", table_name="job")
    op.add_column("job", sa.Column("collection_id", sa.String(length=32), nullable=True))
    op.execute("UPDATE job SET collection_id = (SELECT collection_id FROM document WHERE id = job.document_id)")
    # SQLite copies the table for this; nothing refers to a job, so no row goes with the old one.
    with op.batch_alter_table("job", table_kwargs={"sqlite_autoincrement": True}) as job:
        job.alter_column("collection_id", existing_type=sa.String(length=32), nullable=False)
        job.create_foreign_key(
            op.f("fk_job_collection_id_collection"), "collection", ["collection_id"], ["id"], ondelete="CASCADE"
        )
    op.create_index(
        "uq_job_live", "job", ["document_id", "kind"], unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE
    )
    columns = ["collection_id", "state", "kind", "id"]
    op.create_index(op.f("ix_job_collection_id_state_kind_id"), "job", columns, unique=False)


def _keys() -> None:
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("collections", sa.JSON(), nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("bytes_per_day", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("last_used_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_key_sha256")),
    )
    op.create_index(op.f("ix_api_key_tenant"), "api_key", ["tenant"], unique=False)
    op.create_table(
        "idempotent_reply",
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key", name=op.f("pk_idempotent_reply")),
    )
    op.create_index(op.f("ix_idempotent_reply_created_at"), "idempotent_reply", ["created_at"], unique=False)


def _webhooks() -> None:
    op.create_table(
        "webhook",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=63), nullable=False),
        sa.Column("collection_id", sa.String(length=32), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"], ["collection.id"], name=op.f("fk_webhook_collection_id_collection"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
    )
    op.create_index(op.f("ix_webhook_tenant"), "webhook", ["tenant"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", _BIG, autoincrement=True, nullable=False),
        sa.Column("webhook_id", sa.String(length=32), nullable=False),
        sa.Column("event", sa.String(length=50), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column(
            "state",
            sa.Enum("queued", "delivered", "dead", name="deliverystate", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhook.id"], name=op.f("fk_delivery_webhook_id_webhook"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_delivery_state_not_before"), "delivery", ["state", "not_before"], unique=False)
    op.create_index(op.f("ix_delivery_webhook_id"), "delivery", ["webhook_id"], unique=False)
