"""Receipts and invoices, numbered without gaps."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        "CREATE TABLE document_series "
        "(name text NOT NULL CONSTRAINT pk_document_series PRIMARY KEY, last bigint NOT NULL, "
        "issued_at timestamptz NOT NULL)"
    )
    op.execute(
        """
        CREATE TABLE documents (
            id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_documents PRIMARY KEY,
            kind text NOT NULL CONSTRAINT ck_documents_kind CHECK (kind IN ('receipt', 'invoice')),
            series text NOT NULL,
            serial bigint NOT NULL,
            number text NOT NULL CONSTRAINT uq_documents_number UNIQUE,
            payment_id uuid,
            refs text[] NOT NULL,
            purchase_id uuid NOT NULL,
            student_id uuid NOT NULL,
            content jsonb NOT NULL,
            issued_at timestamptz NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_documents_series_serial UNIQUE (series, serial)
        )
        """
    )
    for column in ("payment_id", "purchase_id", "student_id"):
        op.execute(f"CREATE INDEX ix_documents_{column} ON documents ({column})")
    op.execute("CREATE INDEX ix_documents_refs ON documents USING gin (refs)")
    op.execute("CREATE UNIQUE INDEX uq_documents_invoice ON documents (purchase_id) WHERE kind = 'invoice'")
    for statement in own_rows("documents", owner=ddl.owner(), staff=("admin", "case_manager")):
        op.execute(statement)
    op.execute(f'GRANT SELECT ON documents TO "{ddl.api_login()}"')
