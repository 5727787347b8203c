"""The catalog, purchases, payments, installments, memberships and receipts, and the kit's tables."""

from alembic import op

from kit.db import ddl
from kit.db.database import own_rows

revision = "0001"
down_revision = None

TIMES = "created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()"
ID = "id uuid NOT NULL DEFAULT gen_random_uuid()"

# `uses` may pass `most_uses`: an admin can lower the limit, and a use that was released too early is taken again when
# its purchase turns out to be paid. A reservation locks the code's row and checks the limit there.
CATALOG = (
    f"""
    CREATE TABLE items (
        id uuid NOT NULL CONSTRAINT pk_items PRIMARY KEY,
        kind text NOT NULL DEFAULT 'program' CONSTRAINT ck_items_kind
            CHECK (kind IN ('program', 'track', 'course', 'product', 'service', 'bundle', 'membership')),
        slug text NOT NULL CONSTRAINT uq_items_slug UNIQUE CONSTRAINT ck_items_slug CHECK (slug <> 'membership'),
        external_id text,
        name text NOT NULL,
        category text,
        owner_id uuid,
        price bigint NOT NULL CONSTRAINT ck_items_price CHECK (price >= 0),
        currency text NOT NULL,
        total_cost bigint CONSTRAINT ck_items_total_cost CHECK (total_cost > 0),
        provider text,
        auto_assign_payment_plan boolean NOT NULL DEFAULT true,
        payment_plan jsonb,
        tier text,
        annual_price bigint CONSTRAINT ck_items_annual_price CHECK (annual_price > 0),
        projects jsonb NOT NULL DEFAULT '[]',
        active boolean NOT NULL DEFAULT true,
        revision integer NOT NULL DEFAULT 1,
        registered_at timestamptz,
        {TIMES},
        CONSTRAINT ck_items_membership CHECK (kind <> 'membership' OR tier IS NOT NULL),
        CONSTRAINT uq_items_kind_external_id UNIQUE (kind, external_id)
    )
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
    f"""
    CREATE TABLE sponsors (
        {ID} CONSTRAINT pk_sponsors PRIMARY KEY,
        code text NOT NULL CONSTRAINT uq_sponsors_code UNIQUE,
        name text NOT NULL,
        finance_email text,
        active boolean NOT NULL DEFAULT true,
        {TIMES}
    )
    """,
    f"""
    CREATE TABLE promotion_codes (
        {ID} CONSTRAINT pk_promotion_codes PRIMARY KEY,
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
        {ID} CONSTRAINT pk_redemptions PRIMARY KEY,
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

PURCHASES = (
    f"""
    CREATE TABLE purchases (
        id uuid NOT NULL CONSTRAINT pk_purchases PRIMARY KEY,
        student_id uuid NOT NULL,
        item_id uuid,
        item_kind text NOT NULL DEFAULT 'program',
        owner_id uuid,
        program_id text NOT NULL,
        program_slug text NOT NULL,
        program_name text NOT NULL,
        provider text,
        includes jsonb NOT NULL DEFAULT '[]',
        covers text[] NOT NULL,
        payment_flow text NOT NULL DEFAULT 'page' CONSTRAINT ck_purchases_payment_flow
            CHECK (payment_flow IN ('page', 'intent', 'installments', 'membership')),
        list_price bigint,
        promotion_code text,
        amount bigint NOT NULL CONSTRAINT ck_purchases_amount CHECK (amount >= 0),
        currency text NOT NULL,
        payer text NOT NULL CONSTRAINT ck_purchases_payer CHECK (payer IN ('student', 'sponsor')),
        funding_source text,
        payment_type text NOT NULL CONSTRAINT ck_purchases_payment_type CHECK (payment_type IN ('full', 'plan')),
        installments integer,
        state text NOT NULL DEFAULT 'created' CONSTRAINT ck_purchases_state
            CHECK (state IN ('created', 'session_open', 'awaiting_payment', 'processing', 'paid', 'withdrawn', 'failed',
                'expired', 'canceled')),
        tier text,
        interval text CONSTRAINT ck_purchases_interval CHECK (interval IN ('month', 'year')),
        payment_plan jsonb,
        enrollment_id uuid,
        session_params jsonb,
        stripe_payment_intent_id text CONSTRAINT uq_purchases_stripe_payment_intent_id UNIQUE,
        client_secret text,
        stripe_checkout_session_id text CONSTRAINT uq_purchases_stripe_checkout_session_id UNIQUE,
        checkout_url text,
        expires_at timestamptz,
        stripe_subscription_id text,
        stripe_schedule_id text,
        terms_version text,
        terms_accepted_at timestamptz,
        canceled_at timestamptz,
        cancel_reason text,
        {TIMES}
    )
    """,
    # somebody who asks again before paying finds the purchase that is open already
    "CREATE UNIQUE INDEX uq_purchases_open ON purchases (student_id, program_slug) "
    "WHERE state IN ('created', 'session_open', 'awaiting_payment')",
    "CREATE INDEX ix_purchases_student_id_program_slug ON purchases (student_id, program_slug)",
    "CREATE INDEX ix_purchases_covers ON purchases USING gin (covers)",
    "CREATE INDEX ix_purchases_enrollment_id ON purchases (enrollment_id)",
    # what can expire, for the timer
    "CREATE INDEX ix_purchases_expires_at ON purchases (expires_at) "
    "WHERE payment_flow = 'installments' AND state IN ('created', 'awaiting_payment', 'expired')",
    f"""
    CREATE TABLE funding_payments (
        {ID} CONSTRAINT pk_funding_payments PRIMARY KEY,
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
    # The trigger runs as the owner: who may change a payment can neither write nor suppress its audit trail.
    """
    CREATE FUNCTION audit_funding_payment() RETURNS trigger
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
    "REVOKE ALL ON FUNCTION audit_funding_payment() FROM PUBLIC",
    "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON funding_payments "
    "FOR EACH ROW EXECUTE FUNCTION audit_funding_payment()",
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
    f"""
    CREATE TABLE customers (
        student_id uuid NOT NULL CONSTRAINT pk_customers PRIMARY KEY,
        stripe_customer_id text NOT NULL CONSTRAINT uq_customers_stripe_customer_id UNIQUE,
        email text,
        name text,
        {TIMES}
    )
    """,
)

PAYMENTS = (
    f"""
    CREATE TABLE payments (
        {ID} CONSTRAINT pk_payments PRIMARY KEY,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        item_slug text NOT NULL,
        item_name text NOT NULL,
        item_kind text NOT NULL,
        owner_id uuid,
        payer text NOT NULL CONSTRAINT ck_payments_payer CHECK (payer IN ('student', 'sponsor')),
        amount bigint NOT NULL CONSTRAINT ck_payments_amount CHECK (amount >= 0),
        tax bigint NOT NULL DEFAULT 0 CONSTRAINT ck_payments_tax CHECK (tax >= 0),
        refunded bigint NOT NULL DEFAULT 0 CONSTRAINT ck_payments_refunded CHECK (refunded >= 0),
        currency text NOT NULL,
        status text NOT NULL CONSTRAINT ck_payments_status
            CHECK (status IN ('requires_payment', 'processing', 'succeeded', 'failed', 'canceled')),
        method text,
        refs text[] NOT NULL,
        installment text,
        stripe_payment_intent_id text CONSTRAINT uq_payments_stripe_payment_intent_id UNIQUE,
        stripe_charge_id text,
        stripe_invoice_id text,
        manual_id text,
        disputed boolean NOT NULL DEFAULT false,
        failure_code text,
        paid_at timestamptz,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_payments_purchase_id ON payments (purchase_id)",
    "CREATE INDEX ix_payments_student_id ON payments (student_id)",
    "CREATE INDEX ix_payments_owner_id ON payments (owner_id)",
    "CREATE INDEX ix_payments_installment ON payments (installment)",
    "CREATE INDEX ix_payments_refs ON payments USING gin (refs)",
    f"""
    CREATE TABLE refunds (
        {ID} CONSTRAINT pk_refunds PRIMARY KEY,
        payment_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        amount bigint NOT NULL CONSTRAINT ck_refunds_amount CHECK (amount > 0),
        currency text NOT NULL,
        reason text NOT NULL,
        origin text NOT NULL CONSTRAINT ck_refunds_origin
            CHECK (origin IN ('admin', 'student', 'request', 'cancellation', 'stripe')),
        requested_by text NOT NULL,
        status text NOT NULL CONSTRAINT ck_refunds_status
            CHECK (status IN ('pending', 'succeeded', 'failed', 'canceled')),
        stripe_refund_id text CONSTRAINT uq_refunds_stripe_refund_id UNIQUE,
        failure text,
        reported boolean NOT NULL DEFAULT false,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_refunds_payment_id ON refunds (payment_id)",
    "CREATE INDEX ix_refunds_purchase_id ON refunds (purchase_id)",
    "CREATE INDEX ix_refunds_student_id ON refunds (student_id)",
    f"""
    CREATE TABLE refund_requests (
        {ID} CONSTRAINT pk_refund_requests PRIMARY KEY,
        payment_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        reason text NOT NULL,
        status text NOT NULL DEFAULT 'pending' CONSTRAINT ck_refund_requests_status
            CHECK (status IN ('pending', 'approved', 'rejected')),
        decided_amount bigint,
        decided_by text,
        decided_at timestamptz,
        note text,
        refund_id uuid,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_refund_requests_payment_id ON refund_requests (payment_id)",
    "CREATE INDEX ix_refund_requests_student_id ON refund_requests (student_id)",
    "CREATE UNIQUE INDEX uq_refund_requests_pending ON refund_requests (payment_id) WHERE status = 'pending'",
    f"""
    CREATE TABLE disputes (
        {ID} CONSTRAINT pk_disputes PRIMARY KEY,
        stripe_dispute_id text NOT NULL CONSTRAINT uq_disputes_stripe_dispute_id UNIQUE,
        payment_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        student_id uuid NOT NULL,
        amount bigint NOT NULL,
        currency text NOT NULL,
        reason text NOT NULL,
        status text NOT NULL,
        funds text CONSTRAINT ck_disputes_funds CHECK (funds IN ('withdrawn', 'reinstated')),
        evidence_due_by timestamptz,
        history jsonb NOT NULL,
        closed_at timestamptz,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_disputes_payment_id ON disputes (payment_id)",
    "CREATE INDEX ix_disputes_purchase_id ON disputes (purchase_id)",
)

INSTALLMENTS = (
    f"""
    CREATE TABLE installments (
        {ID} CONSTRAINT pk_installments PRIMARY KEY,
        purchase_id uuid NOT NULL CONSTRAINT fk_installments_purchase_id_purchases REFERENCES purchases,
        student_id uuid NOT NULL,
        position integer NOT NULL CONSTRAINT ck_installments_position CHECK (position > 0),
        kind text NOT NULL CONSTRAINT ck_installments_kind
            CHECK (kind IN ('full', 'deposit', 'installment', 'subscription', 'remainder')),
        amount bigint NOT NULL CONSTRAINT ck_installments_amount CHECK (amount > 0),
        currency text NOT NULL,
        due_at timestamptz NOT NULL,
        status text NOT NULL CONSTRAINT ck_installments_status
            CHECK (status IN ('open', 'processing', 'overdue', 'paused', 'paid', 'waived', 'canceled')),
        attempts integer NOT NULL DEFAULT 0,
        next_attempt_at timestamptz,
        timers integer NOT NULL DEFAULT 0,
        asked integer NOT NULL DEFAULT 0,
        failed_debits integer NOT NULL DEFAULT 0,
        round integer NOT NULL DEFAULT 1,
        closed_because text CONSTRAINT ck_installments_closed_because CHECK (closed_because IN ('ended', 'covered')),
        stripe_payment_intent_id text CONSTRAINT uq_installments_stripe_payment_intent_id UNIQUE,
        stripe_invoice_id text CONSTRAINT uq_installments_stripe_invoice_id UNIQUE,
        client_secret text,
        pay_url text,
        failure_code text,
        paid_at timestamptz,
        {TIMES},
        CONSTRAINT uq_installments_purchase_id_position UNIQUE (purchase_id, position)
    )
    """,
    "CREATE INDEX ix_installments_student_id ON installments (student_id)",
    "CREATE INDEX ix_installments_next_attempt_at ON installments (next_attempt_at) WHERE status = 'open'",
    f"""
    CREATE TABLE manual_payments (
        {ID} CONSTRAINT pk_manual_payments PRIMARY KEY,
        student_id uuid NOT NULL,
        purchase_id uuid NOT NULL,
        installment_id uuid,
        method text NOT NULL CONSTRAINT ck_manual_payments_method
            CHECK (method IN ('cash', 'check', 'bank_transfer', 'waiver')),
        transaction_reference text NOT NULL,
        notes text,
        amount bigint NOT NULL CONSTRAINT ck_manual_payments_amount CHECK (amount >= 0),
        currency text NOT NULL,
        recorded_by text NOT NULL,
        {TIMES},
        CONSTRAINT uq_manual_payments_student_id_method_transaction_reference
            UNIQUE (student_id, method, transaction_reference)
    )
    """,
    "CREATE INDEX ix_manual_payments_purchase_id ON manual_payments (purchase_id)",
    "CREATE INDEX ix_manual_payments_installment_id ON manual_payments (installment_id)",
    f"""
    CREATE TABLE cancellations (
        purchase_id uuid NOT NULL CONSTRAINT pk_cancellations PRIMARY KEY
            CONSTRAINT fk_cancellations_purchase_id_purchases REFERENCES purchases,
        student_id uuid NOT NULL,
        reason text NOT NULL,
        paid bigint NOT NULL,
        refunded bigint NOT NULL,
        currency text NOT NULL,
        counted text[] NOT NULL,
        canceled_by text NOT NULL,
        {TIMES}
    )
    """,
    "CREATE INDEX ix_cancellations_student_id ON cancellations (student_id)",
    f"""
    CREATE TABLE sponsor_customers (
        code text NOT NULL CONSTRAINT pk_sponsor_customers PRIMARY KEY,
        stripe_customer_id text NOT NULL
            CONSTRAINT uq_sponsor_customers_stripe_customer_id UNIQUE,
        {TIMES}
    )
    """,
    """
    CREATE TABLE test_clock (
        id boolean NOT NULL DEFAULT true CONSTRAINT pk_test_clock PRIMARY KEY CONSTRAINT ck_test_clock_one CHECK (id),
        ahead interval NOT NULL
    )
    """,
)

MEMBERSHIPS = (
    f"""
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
        {TIMES}
    )
    """,
    "CREATE INDEX ix_memberships_student_id ON memberships (student_id)",
)

RECEIPTS = (
    """
    CREATE TABLE document_series (
        name text NOT NULL CONSTRAINT pk_document_series PRIMARY KEY,
        last bigint NOT NULL,
        issued_at timestamptz NOT NULL
    )
    """,
    f"""
    CREATE TABLE documents (
        {ID} CONSTRAINT pk_documents PRIMARY KEY,
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
        {TIMES},
        CONSTRAINT uq_documents_series_serial UNIQUE (series, serial)
    )
    """,
    "CREATE INDEX ix_documents_payment_id ON documents (payment_id)",
    "CREATE INDEX ix_documents_purchase_id ON documents (purchase_id)",
    "CREATE INDEX ix_documents_student_id ON documents (student_id)",
    "CREATE INDEX ix_documents_refs ON documents USING gin (refs)",
    "CREATE UNIQUE INDEX uq_documents_invoice ON documents (purchase_id) WHERE kind = 'invoice'",
)

STAFF = ("admin", "case_manager")
OWN_ROWS = (
    "redemptions", "purchases", "funding_payments", "funding_payment_changes", "enrollments", "contacts", "customers",
    "payments", "refunds", "refund_requests", "disputes", "installments", "manual_payments", "cancellations",
    "memberships", "documents",
)  # fmt: skip
# a specialist sees the payments for their own items, and changes none of them
SPECIALISTS = (
    "CREATE POLICY own_revenue ON payments FOR SELECT USING (current_setting('app.role', true) = 'specialist' "
    "AND owner_id = NULLIF(current_setting('app.student_id', true), '')::uuid)",
    "CREATE POLICY own_revenue ON disputes FOR SELECT USING (current_setting('app.role', true) = 'specialist' "
    "AND EXISTS (SELECT FROM payments WHERE payments.id = payment_id))",
)
GRANTS = {
    "SELECT": ("funding_payment_changes", "enrollments", "disputes", "documents"),
    "SELECT, INSERT": ("bundle_items", "cancellations"),
    "SELECT, INSERT, UPDATE": (
        "items", "sponsors", "promotion_codes", "redemptions", "purchases", "funding_payments", "contacts", "customers",
        "payments", "refunds", "refund_requests", "installments", "manual_payments", "sponsor_customers", "test_clock",
        "memberships",
    ),
}  # fmt: skip


def upgrade() -> None:
    api = ddl.api_login()
    ddl.create_v1(api_login=api)
    for statement in (*CATALOG, *PURCHASES, *PAYMENTS, *INSTALLMENTS, *MEMBERSHIPS, *RECEIPTS):
        op.execute(statement)
    for table in OWN_ROWS:
        for statement in own_rows(table, owner=ddl.owner(), staff=STAFF):
            op.execute(statement)
    for statement in SPECIALISTS:
        op.execute(statement)
    for rights, tables in GRANTS.items():
        op.execute(f'GRANT {rights} ON {", ".join(tables)} TO "{api}"')
