"""Enrollments, curricula, progress, and the kit's tables."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0001"
down_revision = None

TABLES = (
    """
    CREATE TABLE enrollments (
        id uuid NOT NULL CONSTRAINT pk_enrollments PRIMARY KEY,
        student_id uuid NOT NULL,
        program_slug text NOT NULL,
        program_id text NOT NULL,
        program_name text NOT NULL,
        provider text,
        kind text NOT NULL,
        track text,
        tier text,
        status text NOT NULL CONSTRAINT ck_enrollments_status
            CHECK (status IN ('pending', 'active', 'completed', 'withdrawn', 'paused')),
        reason text,
        payment_status text NOT NULL CONSTRAINT ck_enrollments_payment_status
            CHECK (payment_status IN ('pending', 'paid', 'waived')),
        source text NOT NULL CONSTRAINT ck_enrollments_source
            CHECK (source IN ('application', 'case_manager', 'employer', 'self_enroll')),
        purchase_id uuid,
        funding_source text,
        completed_at timestamptz,
        revision integer NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT uq_enrollments_student_id_program_slug UNIQUE (student_id, program_slug)
    )
    """,
    "CREATE INDEX ix_enrollments_student_id ON enrollments (student_id)",
    "CREATE INDEX ix_enrollments_program_slug ON enrollments (program_slug)",
    "CREATE INDEX ix_enrollments_purchase_id ON enrollments (purchase_id)",
    """
    CREATE TABLE curricula (
        program_slug text NOT NULL CONSTRAINT pk_curricula PRIMARY KEY,
        revision integer NOT NULL,
        projects jsonb NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE project_progress (
        id uuid NOT NULL CONSTRAINT pk_project_progress PRIMARY KEY,
        enrollment_id uuid NOT NULL CONSTRAINT fk_project_progress_enrollment_id REFERENCES enrollments (id),
        student_id uuid NOT NULL,
        position integer NOT NULL,
        title text NOT NULL,
        status text NOT NULL CONSTRAINT ck_project_progress_status
            CHECK (status IN ('locked', 'unlocked', 'completed')),
        CONSTRAINT uq_project_progress_enrollment_id_position UNIQUE (enrollment_id, position)
    )
    """,
    """
    CREATE TABLE step_progress (
        id uuid NOT NULL CONSTRAINT pk_step_progress PRIMARY KEY,
        project_id uuid NOT NULL CONSTRAINT fk_step_progress_project_id REFERENCES project_progress (id),
        student_id uuid NOT NULL,
        position integer NOT NULL,
        title text NOT NULL,
        done_at timestamptz,
        CONSTRAINT uq_step_progress_project_id_position UNIQUE (project_id, position)
    )
    """,
)

# Marking a step as done is all that the API's login may change.
GRANTS = {
    "enrollments": "SELECT, UPDATE (status, reason, completed_at, revision, updated_at)",
    "project_progress": "SELECT, UPDATE (status)",
    "step_progress": "SELECT, UPDATE (done_at)",
}


def upgrade() -> None:
    api = ddl.api_login()
    ddl.create_v1(api_login=api)
    for statement in TABLES:
        op.execute(statement)
    for table, rights in GRANTS.items():
        for statement in own_rows(table, owner=ddl.owner(), staff=("admin", "case_manager")):
            op.execute(statement)
        op.execute(f'GRANT {rights} ON {table} TO "{api}"')
        # Case managers read everybody's progress; only the student or an admin changes it.
        op.execute(
            f'CREATE POLICY own_progress ON {table} AS RESTRICTIVE FOR UPDATE TO "{api}" '
            "USING (student_id = NULLIF(current_setting('app.student_id', true), '')::uuid "
            "OR current_setting('app.role', true) = 'admin')"
        )
