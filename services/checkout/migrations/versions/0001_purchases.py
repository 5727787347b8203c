"""Catalog, purchases, sponsors' payments, what is known of enrollments and contacts, and the kit's tables."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0001"
down_revision = None

TIMES = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"

TABLES = (
    f"""
    CREATE TABLE programs (
        id uuid NOT NULL CONSTRAINT pk_programs PRIMARY KEY,
        slug text NOT NULL CONSTRAINT uq_programs_slug UNIQUE,
        name text NOT NULL,
        price bigint NOT NULL CONSTRAINT ck_programs_price CHECK (price > 0),
        currency text NOT NULL,
        total_cost bigint CONSTRAINT ck_programs_total_cost CHECK (total_cost > 0),
        provider text,
        active boolean NOT NULL DEFAULT true,
        {TIMES}
    )
    """,
    f"""
    CREATE TABLE sponsors (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_sponsors PRIMARY KEY,
        code text NOT NULL CONSTRAINT uq_sponsors_code UNIQUE,
        name text NOT NULL,
        finance_email text,
        active boolean NOT NULL DEFAULT true,
        {TIMES}
    )
    """,
    f"""
    CREATE TABLE purchases (
        id uuid NOT NULL CONSTRAINT pk_purchases PRIMARY KEY,
        student_id uuid NOT NULL,
        program_id text NOT NULL,
        program_slug text NOT NULL,
        program_name text NOT NULL,
        provider text,
        amount bigint NOT NULL CONSTRAINT ck_purchases_amount CHECK (amount > 0),
        currency text NOT NULL,
        payer text NOT NULL CONSTRAINT ck_purchases_payer CHECK (payer IN ('student', 'sponsor')),
        funding_source text,
        payment_type text NOT NULL CONSTRAINT ck_purchases_payment_type CHECK (payment_type IN ('full', 'plan')),
        installments integer,
        state text NOT NULL CONSTRAINT ck_purchases_state CHECK (state IN
            ('created', 'session_open', 'processing', 'paid', 'withdrawn', 'failed', 'expired')),
        session_params jsonb NOT NULL,
        stripe_checkout_session_id text CONSTRAINT uq_purchases_stripe_checkout_session_id UNIQUE,
        checkout_url text,
        expires_at timestamptz,
        stripe_subscription_id text,
        stripe_schedule_id text,
        {TIMES}
    )
    """,
    # somebody who asks again before paying finds the purchase that is open already
    "CREATE UNIQUE INDEX uq_purchases_open ON purchases (student_id, program_slug) "
    "WHERE state IN ('created', 'session_open')",
    "CREATE INDEX ix_purchases_student_id_program_slug ON purchases (student_id, program_slug)",
    f"""
    CREATE TABLE funding_payments (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_funding_payments PRIMARY KEY,
        student_id uuid NOT NULL,
        program_id text NOT NULL,
        funding_source text NOT NULL DEFAULT 'WIOA',
        stripe_checkout_session_id text CONSTRAINT ix_funding_payments_stripe_checkout_session_id UNIQUE,
        stripe_payment_intent_id text,
        status text NOT NULL DEFAULT 'created' CONSTRAINT ck_funding_payments_status
            CHECK (status IN ('created', 'paid', 'failed')),
        amount numeric(10, 2) NOT NULL,
        paid_at timestamptz,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_funding_payments_student_id ON funding_payments (student_id)",
    "CREATE INDEX ix_funding_payments_program_id ON funding_payments (program_id)",
    "CREATE INDEX ix_funding_payments_status ON funding_payments (status)",
    """
    CREATE TABLE funding_payment_changes (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_funding_payment_changes PRIMARY KEY,
        funding_payment_id uuid NOT NULL,
        student_id uuid NOT NULL,
        actor text NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        operation text NOT NULL,
        old jsonb,
        new jsonb
    )
    """,
    "CREATE INDEX ix_funding_payment_changes_funding_payment_id ON funding_payment_changes (funding_payment_id)",
    """
    CREATE TABLE enrollments (
        student_id uuid NOT NULL,
        program_slug text NOT NULL,
        enrollment_id uuid NOT NULL,
        status text NOT NULL CONSTRAINT ck_enrollments_status
            CHECK (status IN ('pending', 'active', 'paused', 'withdrawn', 'completed')),
        purchase_id uuid,
        revision integer NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now(),
        CONSTRAINT pk_enrollments PRIMARY KEY (student_id, program_slug)
    )
    """,
    """
    CREATE TABLE contacts (
        student_id uuid NOT NULL CONSTRAINT pk_contacts PRIMARY KEY,
        email text NOT NULL,
        name text,
        revision integer NOT NULL,
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)

# The trigger runs as the owner, so that nobody who may change a payment can write, or leave out, its trail.
AUDIT = (
    """
    CREATE FUNCTION note_funding_payment_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO funding_payment_changes (funding_payment_id, student_id, actor, operation, old, new)
        VALUES (
            CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END,
            CASE WHEN TG_OP = 'DELETE' THEN OLD.student_id ELSE NEW.student_id END,
            coalesce(NULLIF(current_setting('app.actor', true), ''), session_user),
            lower(TG_OP),
            CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE to_jsonb(OLD) END,
            CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE to_jsonb(NEW) END
        );
        RETURN NULL;
    END $$
    """,
    "REVOKE ALL ON FUNCTION note_funding_payment_change() FROM PUBLIC",
    "CREATE TRIGGER note_change AFTER INSERT OR UPDATE OR DELETE ON funding_payments "
    "FOR EACH ROW EXECUTE FUNCTION note_funding_payment_change()",
)

STAFF = ("admin", "case_manager")
GRANTS = {
    "programs": "SELECT, INSERT, UPDATE",
    "sponsors": "SELECT, INSERT, UPDATE",
    "purchases": "SELECT, INSERT, UPDATE",
    "funding_payments": "SELECT, INSERT, UPDATE",
    "funding_payment_changes": "SELECT",
    "enrollments": "SELECT",
    "contacts": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    api = ddl.api_login()
    ddl.create_v1(api_login=api)
    for statement in (*TABLES, *AUDIT):
        op.execute(statement)
    for table in ("purchases", "funding_payments", "funding_payment_changes", "enrollments", "contacts"):
        for statement in own_rows(table, owner=ddl.owner(), staff=STAFF):
            op.execute(statement)
    for table, rights in GRANTS.items():
        op.execute(f'GRANT {rights} ON {table} TO "{api}"')
