"""Indexes for a million documents: lists by pages, jobs of a document that goes, signs of life. Revision 0005."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_document_collection_id_created_at_id", "document", ["collection_id", "created_at", "id"])
    op.create_index(
        "ix_document_collection_id_state_created_at_id", "document", ["collection_id", "state", "created_at", "id"]
    )
    op.drop_index("ix_document_collection_id_state", table_name="document")  # the beginning of the one above
    op.create_index("ix_job_document_id", "job", ["document_id"])
    op.create_index("ix_webhook_collection_id", "webhook", ["collection_id"])
    op.create_index("ix_job_last_progress", "job", ["last_progress"])
