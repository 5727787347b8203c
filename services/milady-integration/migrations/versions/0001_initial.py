"""Milady's programs, all enrollments, the provider's enrollments, and the kit's tables."""

import json

import sqlalchemy as sa
from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0001"
down_revision = None

_BARBER = [
    {"id": "milady-barber-foundations", "title": "Standard Barbering: Foundations"},
    {"id": "milady-barber-practice", "title": "Standard Barbering: Practical Skills"},
    {"id": "milady-barber-board-prep", "title": "Standard Barbering: State Board Preparation"},
]
_STAFF = ("admin", "case_manager")


def upgrade() -> None:
    api = ddl.api_login()
    ddl.create_v1(api_login=api)
    op.execute(
        """
        CREATE TABLE milady_programs (
            program_slug text NOT NULL CONSTRAINT pk_milady_programs PRIMARY KEY,
            program_id text,
            title text NOT NULL,
            courses jsonb NOT NULL,
            is_active boolean NOT NULL,
            revision integer NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute(
        """
        CREATE TABLE enrollments (
            id uuid NOT NULL CONSTRAINT pk_enrollments PRIMARY KEY,
            student_id uuid NOT NULL,
            program_slug text NOT NULL,
            program_id text NOT NULL,
            program_name text,
            provider text,
            standing text NOT NULL,
            desired_state text CONSTRAINT ck_enrollments_desired_state
                CHECK (desired_state IN ('enrolled', 'withdrawn')),
            reason text,
            purchase_id uuid,
            contact_name text,
            contact_email text,
            cause jsonb,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_enrollments_student_id_program_slug UNIQUE (student_id, program_slug)
        )
        """
    )
    op.execute("CREATE INDEX ix_enrollments_program_slug ON enrollments (program_slug)")
    op.execute(
        """
        CREATE TABLE provider_enrollments (
            id uuid NOT NULL CONSTRAINT pk_provider_enrollments PRIMARY KEY
                CONSTRAINT fk_provider_enrollments_id REFERENCES enrollments (id),
            student_id uuid NOT NULL,
            program_slug text NOT NULL,
            status text NOT NULL CONSTRAINT ck_provider_enrollments_status
                CHECK (status IN ('wanted', 'enrolled', 'withdrawn', 'failed', 'manual')),
            desired_state text NOT NULL CONSTRAINT ck_provider_enrollments_desired_state
                CHECK (desired_state IN ('enrolled', 'withdrawn')),
            reason text,
            purchase_id uuid,
            step text CONSTRAINT ck_provider_enrollments_step CHECK (step IN ('enroll', 'withdraw')),
            failed_step text CONSTRAINT ck_provider_enrollments_failed_step
                CHECK (failed_step IN ('enroll', 'withdraw')),
            failure text,
            generation integer NOT NULL,
            announced boolean NOT NULL,
            milady_enrollment_id text,
            links jsonb NOT NULL,
            revision integer NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_provider_enrollments_student_id_program_slug UNIQUE (student_id, program_slug)
        )
        """
    )
    op.execute("CREATE INDEX ix_provider_enrollments_status ON provider_enrollments (status, created_at)")
    for table in ("enrollments", "provider_enrollments"):
        for statement in own_rows(table, owner=ddl.owner(), staff=_STAFF):
            op.execute(statement)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON milady_programs TO "{api}"')
    op.execute(f'GRANT SELECT ON enrollments TO "{api}"')
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON provider_enrollments TO "{api}"')
    # Students only read. What staff decide by hand goes through the same tables as what payments decide.
    staff = "current_setting('app.role', true) IN ('admin', 'case_manager')"
    on = f'ON provider_enrollments AS RESTRICTIVE FOR {{}} TO "{api}"'
    op.execute(f"CREATE POLICY only_staff_insert {on.format('INSERT')} WITH CHECK ({staff})")
    op.execute(f"CREATE POLICY only_staff_update {on.format('UPDATE')} USING ({staff})")
    op.get_bind().execute(
        sa.text(
            "INSERT INTO milady_programs (program_slug, title, courses, is_active, revision) "
            "VALUES ('barber-apprenticeship', 'Barber Apprenticeship', CAST(:courses AS jsonb), true, 1)"
        ),
        {"courses": json.dumps(_BARBER)},
    )
