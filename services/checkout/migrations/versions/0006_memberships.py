"""Memberships as Stripe told them last."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE memberships (
            id uuid NOT NULL CONSTRAINT pk_memberships PRIMARY KEY,
            student_id uuid NOT NULL,
            item_id uuid NOT NULL,
            tier text NOT NULL,
            interval text NOT NULL CONSTRAINT ck_memberships_interval CHECK (interval IN ('month', 'year')),
            status text NOT NULL,
            cancel_at_period_end boolean NOT NULL DEFAULT false,
            paused boolean NOT NULL DEFAULT false,
            current_period_end timestamptz,
            ended_at timestamptz,
            stripe_subscription_id text NOT NULL CONSTRAINT uq_memberships_stripe_subscription_id UNIQUE,
            stripe_price_id text,
            as_of timestamptz NOT NULL,
            revision integer NOT NULL DEFAULT 1,
            created_at timestamptz NOT NULL DEFAULT now(),
            updated_at timestamptz NOT NULL DEFAULT now()
        )
        """
    )
    op.execute("CREATE INDEX ix_memberships_student_id ON memberships (student_id)")
    for statement in own_rows("memberships", owner=ddl.owner(), staff=("admin", "case_manager")):
        op.execute(statement)
    op.execute(f'GRANT SELECT, INSERT, UPDATE ON memberships TO "{ddl.api_login()}"')
