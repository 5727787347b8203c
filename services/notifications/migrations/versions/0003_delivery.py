"""What is due stands in narrow tables, and messages and inbox are partitioned by month."""

from alembic import op

from kit.db import ddl, delivery_ddl

revision = "0003"
down_revision = "0001"


def upgrade() -> None:
    delivery_ddl.create_v2(api_login=ddl.api_login())
    op.execute("CREATE INDEX ix_documents_created_at ON documents (created_at)")
