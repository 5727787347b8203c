"""Enrollments, and the kit's tables."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0001"
down_revision = None


def upgrade() -> None:
    api = ddl.api_login()
    ddl.create_v1(api_login=api)
    op.execute(
        """
        CREATE TABLE enrollments (
            id uuid NOT NULL CONSTRAINT pk_enrollments PRIMARY KEY,
            student_id uuid NOT NULL,
            program_slug text NOT NULL,
            program_id text NOT NULL,
            program_name text NOT NULL,
            provider text,
            status text NOT NULL CONSTRAINT ck_enrollments_status
                CHECK (status IN ('pending', 'active', 'completed', 'withdrawn', 'paused')),
            reason text,
            payment_status text NOT NULL CONSTRAINT ck_enrollments_payment_status
                CHECK (payment_status IN ('pending', 'paid', 'waived')),
            source text NOT NULL CONSTRAINT ck_enrollments_source
                CHECK (source IN ('application', 'case_manager', 'employer', 'self_enroll')),
            purchase_id uuid,
            funding_source text,
            revision integer NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_enrollments_student_id_program_slug UNIQUE (student_id, program_slug)
        )
        """
    )
    for column in ("student_id", "program_slug", "purchase_id"):
        op.execute(f"CREATE INDEX ix_enrollments_{column} ON enrollments ({column})")
    for statement in own_rows("enrollments", owner=ddl.owner(), staff=("admin", "case_manager")):
        op.execute(statement)
    op.execute(f'GRANT SELECT ON enrollments TO "{api}"')
