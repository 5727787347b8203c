"""Tracks: what there is to do in them, and how far each student has come; kinds and tiers of enrollments."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0002"
down_revision = "0001"

TABLES = (
    "ALTER TABLE enrollments ADD COLUMN kind text NOT NULL DEFAULT 'program'",
    "ALTER TABLE enrollments ADD COLUMN track text",
    "ALTER TABLE enrollments ADD COLUMN tier text",
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

# All that the API changes is what a step that is done changes.
GRANTS = {
    "enrollments": "UPDATE (status, reason, revision, updated_at)",
    "project_progress": "SELECT, UPDATE (status)",
    "step_progress": "SELECT, UPDATE (done_at)",
}


def upgrade() -> None:
    api = ddl.api_login()
    for statement in TABLES:
        op.execute(statement)
    for table in ("project_progress", "step_progress"):
        for statement in own_rows(table, owner=ddl.owner(), staff=("admin", "case_manager")):
            op.execute(statement)
    for table, rights in GRANTS.items():
        op.execute(f'GRANT {rights} ON {table} TO "{api}"')
        # A case manager may look at everybody's studies; doing them is for the student, or an admin.
        op.execute(
            f'CREATE POLICY own_studies ON {table} AS RESTRICTIVE FOR UPDATE TO "{api}" '
            "USING (student_id = NULLIF(current_setting('app.student_id', true), '')::uuid "
            "OR current_setting('app.role', true) = 'admin')"
        )
