"""The catalog: everything that is sold, bundles, and promotion codes."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0002"
down_revision = "0001"

TIMES = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"

ITEMS = (
    "ALTER TABLE programs RENAME TO items",
    "ALTER TABLE items RENAME CONSTRAINT pk_programs TO pk_items",
    "ALTER TABLE items RENAME CONSTRAINT uq_programs_slug TO uq_items_slug",
    "ALTER TABLE items RENAME CONSTRAINT ck_programs_total_cost TO ck_items_total_cost",
    "ALTER TABLE items DROP CONSTRAINT ck_programs_price",
    """
    ALTER TABLE items
        ADD kind text NOT NULL DEFAULT 'program' CONSTRAINT ck_items_kind
            CHECK (kind IN ('program', 'track', 'course', 'product', 'service', 'bundle', 'membership')),
        ADD external_id text,
        ADD category text,
        ADD owner_id uuid,
        ADD auto_assign_payment_plan boolean NOT NULL DEFAULT true,
        ADD payment_plan jsonb,
        ADD tier text,
        ADD annual_price bigint CONSTRAINT ck_items_annual_price CHECK (annual_price > 0),
        ADD projects jsonb NOT NULL DEFAULT '[]',
        ADD revision integer NOT NULL DEFAULT 1,
        ADD registered_at timestamptz,
        ADD CONSTRAINT ck_items_slug CHECK (slug <> 'membership'),
        ADD CONSTRAINT ck_items_price CHECK (price >= 0),
        ADD CONSTRAINT ck_items_membership CHECK (kind <> 'membership' OR tier IS NOT NULL),
        ADD CONSTRAINT uq_items_kind_external_id UNIQUE (kind, external_id)
    """,
    """
    CREATE TABLE bundle_items (
        bundle_id uuid NOT NULL CONSTRAINT fk_bundle_items_bundle_id_items REFERENCES items,
        item_id uuid NOT NULL CONSTRAINT fk_bundle_items_item_id_items REFERENCES items,
        position integer NOT NULL,
        CONSTRAINT pk_bundle_items PRIMARY KEY (bundle_id, item_id)
    )
    """,
    "CREATE INDEX ix_bundle_items_item_id ON bundle_items (item_id)",
)

# `uses` may pass `most_uses`: an admin can lower the limit, and a use that was given back too early is taken again when
# its purchase turns out to be paid. Whoever reserves a use holds the code's row and looks at the limit there.
PROMOTIONS = (
    f"""
    CREATE TABLE promotion_codes (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_promotion_codes PRIMARY KEY,
        code text NOT NULL CONSTRAINT uq_promotion_codes_code UNIQUE,
        percent_off integer CONSTRAINT ck_promotion_codes_percent_off CHECK (percent_off BETWEEN 1 AND 100),
        amount_off bigint CONSTRAINT ck_promotion_codes_amount_off CHECK (amount_off > 0),
        currency text,
        kinds text[],
        items text[],
        valid_from timestamptz,
        valid_until timestamptz,
        most_uses integer CONSTRAINT ck_promotion_codes_most_uses CHECK (most_uses > 0),
        most_per_student integer CONSTRAINT ck_promotion_codes_most_per_student CHECK (most_per_student > 0),
        uses integer NOT NULL DEFAULT 0 CONSTRAINT ck_promotion_codes_uses CHECK (uses >= 0),
        referrer_id uuid CONSTRAINT uq_promotion_codes_referrer_id UNIQUE,
        active boolean NOT NULL DEFAULT true,
        {TIMES},
        CONSTRAINT ck_promotion_codes_off CHECK ((percent_off IS NULL) <> (amount_off IS NULL)),
        CONSTRAINT ck_promotion_codes_currency CHECK (amount_off IS NULL OR currency IS NOT NULL)
    )
    """,
    f"""
    CREATE TABLE redemptions (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_redemptions PRIMARY KEY,
        promotion_code_id uuid NOT NULL
            CONSTRAINT fk_redemptions_promotion_code_id_promotion_codes REFERENCES promotion_codes,
        purchase_id uuid NOT NULL CONSTRAINT uq_redemptions_purchase_id UNIQUE,
        student_id uuid NOT NULL,
        amount bigint NOT NULL,
        currency text NOT NULL,
        status text NOT NULL CONSTRAINT ck_redemptions_status CHECK (status IN ('reserved', 'redeemed', 'released')),
        {TIMES}
    )
    """,
    "CREATE INDEX ix_redemptions_promotion_code_id ON redemptions (promotion_code_id)",
    "CREATE INDEX ix_redemptions_student_id ON redemptions (student_id)",
)

STAFF = ("admin", "case_manager")
GRANTS = {
    "bundle_items": "SELECT, INSERT",
    "promotion_codes": "SELECT, INSERT, UPDATE",
    "redemptions": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    for statement in (*ITEMS, *PROMOTIONS, *own_rows("redemptions", owner=ddl.owner(), staff=STAFF)):
        op.execute(statement)
    for table, rights in GRANTS.items():
        op.execute(f'GRANT {rights} ON {table} TO "{ddl.api_login()}"')
