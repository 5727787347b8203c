"""Instructors, their assignments, and the kit's tables."""

from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import sqlalchemy as sa
import yaml
from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0001"
down_revision = None

_INSTRUCTORS = Path(__file__).parents[1] / "instructors.yaml"
_INSTRUCTOR_IDS = uuid5(NAMESPACE_URL, "urn:bursar:instructor")


def upgrade() -> None:
    api = ddl.api_login()
    ddl.create_v1(api_login=api)
    op.execute(
        """
        CREATE TABLE ai_instructors (
            id uuid NOT NULL CONSTRAINT pk_ai_instructors PRIMARY KEY,
            program_slug text NOT NULL,
            is_active boolean NOT NULL,
            name text NOT NULL,
            specialty text,
            avatar text,
            capacity integer NOT NULL CONSTRAINT ck_ai_instructors_capacity CHECK (capacity >= 0),
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("CREATE INDEX ix_ai_instructors_program_slug ON ai_instructors (program_slug)")
    op.execute(
        """
        CREATE TABLE ai_instructor_assignments (
            id uuid NOT NULL CONSTRAINT pk_ai_instructor_assignments PRIMARY KEY,
            student_id uuid NOT NULL,
            program_slug text NOT NULL,
            program_id text NOT NULL,
            program_name text,
            provider text,
            desired_status text NOT NULL CONSTRAINT ck_ai_instructor_assignments_desired_status
                CHECK (desired_status IN ('assigned', 'released')),
            reason text,
            purchase_id uuid,
            cause jsonb,
            status text NOT NULL DEFAULT 'released' CONSTRAINT ck_ai_instructor_assignments_status
                CHECK (status IN ('assigned', 'waiting', 'released')),
            instructor_id uuid CONSTRAINT fk_ai_instructor_assignments_instructor_id REFERENCES ai_instructors (id),
            since timestamptz NOT NULL DEFAULT now(),
            revision integer NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT uq_ai_instructor_assignments_student_id_program_slug UNIQUE (student_id, program_slug),
            CONSTRAINT ck_ai_instructor_assignments_instructor
                CHECK ((status = 'assigned') = (instructor_id IS NOT NULL))
        )
        """
    )
    op.execute(
        "CREATE INDEX ix_ai_instructor_assignments_instructor_id ON ai_instructor_assignments (instructor_id) "
        "WHERE instructor_id IS NOT NULL"
    )
    op.execute(
        "CREATE INDEX ix_ai_instructor_assignments_waiting ON ai_instructor_assignments (program_slug, since) "
        "WHERE status = 'waiting'"
    )
    for statement in own_rows("ai_instructor_assignments", owner=ddl.owner(), staff=("admin", "case_manager")):
        op.execute(statement)
    op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ai_instructors TO "{api}"')
    op.execute(
        "GRANT SELECT, UPDATE (status, instructor_id, since, revision, updated_at) "
        f'ON ai_instructor_assignments TO "{api}"'
    )
    # An admin's change to an instructor reassigns students at once; nobody else reassigns anybody over the API.
    op.execute(
        f'CREATE POLICY only_admins_update ON ai_instructor_assignments AS RESTRICTIVE FOR UPDATE TO "{api}" '
        "USING (current_setting('app.role', true) = 'admin')"
    )
    _seed()


def _seed() -> None:
    insert = sa.text(
        "INSERT INTO ai_instructors (id, program_slug, is_active, name, specialty, avatar, capacity) "
        "VALUES (:id, :program_slug, true, :name, :specialty, :avatar, :capacity)"
    )
    for slug, instructors in yaml.safe_load(_INSTRUCTORS.read_text(encoding="utf-8")).items():
        for instructor in instructors:
            row = {"id": uuid5(_INSTRUCTOR_IDS, f"{slug}/{instructor['name']}"), "program_slug": slug, **instructor}
            op.get_bind().execute(insert, row)
