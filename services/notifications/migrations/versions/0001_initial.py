"""Notifications and their topics, contacts, documents, and the kit's tables."""

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
        CREATE TABLE notifications (
            id uuid NOT NULL CONSTRAINT pk_notifications PRIMARY KEY,
            key text NOT NULL CONSTRAINT uq_notifications_key UNIQUE,
            template text NOT NULL,
            channel text NOT NULL CONSTRAINT ck_notifications_channel CHECK (channel IN ('email', 'webhook')),
            recipient text NOT NULL
                CONSTRAINT ck_notifications_recipient CHECK (recipient IN ('student', 'sponsor', 'admin')),
            student_id uuid,
            about_student_id uuid,
            purchase_id uuid,
            facts_key text,
            context jsonb,
            cause jsonb,
            status text NOT NULL CONSTRAINT ck_notifications_status
                CHECK (status IN ('waiting', 'no_contact', 'handed_over', 'sent', 'skipped', 'failed', 'unknown')),
            code text,
            round integer NOT NULL DEFAULT 1,
            attempts integer NOT NULL DEFAULT 0,
            handed_over_at timestamptz,
            attachment text,
            sent_at timestamptz,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT ck_notifications_source CHECK (facts_key IS NOT NULL OR context IS NOT NULL)
        )
        """
    )
    op.execute("CREATE INDEX ix_notifications_student_id ON notifications (student_id, created_at)")
    op.execute("CREATE INDEX ix_notifications_created_at ON notifications (created_at, id)")
    op.execute(
        "CREATE INDEX ix_notifications_no_contact ON notifications (about_student_id) WHERE status = 'no_contact'"
    )
    op.execute(
        """
        CREATE TABLE topics (
            topic text NOT NULL CONSTRAINT pk_topics PRIMARY KEY,
            notification_id uuid NOT NULL CONSTRAINT fk_topics_notification_id REFERENCES notifications (id)
        )
        """
    )
    op.execute("CREATE INDEX ix_topics_notification_id ON topics (notification_id)")
    op.execute(
        """
        CREATE TABLE contacts (
            student_id uuid NOT NULL CONSTRAINT pk_contacts PRIMARY KEY,
            email text NOT NULL,
            name text,
            changed_at timestamptz NOT NULL,
            event_id text NOT NULL
        )
        """
    )
    op.execute(
        """
        CREATE TABLE documents (
            id uuid NOT NULL CONSTRAINT pk_documents PRIMARY KEY,
            student_id uuid NOT NULL,
            filename text NOT NULL,
            content bytea NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    for table in ("notifications", "contacts", "documents"):
        for statement in own_rows(table, owner=ddl.owner()):
            op.execute(statement)
    op.execute(f'GRANT SELECT ON notifications TO "{api}"')
    op.execute(f'GRANT UPDATE (status, code, round, handed_over_at, sent_at, updated_at) ON notifications TO "{api}"')
