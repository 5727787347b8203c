"""Erased identifiers, and reasons that staff have given, which can be erased with the person whom they are about.

No login may change audit records and events. The function removes reasons, and only where an erased identifier is
named.
"""

from alembic import op

from kit.db import ddl, erasure_ddl

revision = "0004"
down_revision = "0003"

ABOUT = """
    (student_id = ANY (people_and_purchases) OR purchase_id = ANY (people_and_purchases))
    AND EXISTS (SELECT FROM erased_identifiers WHERE identifier IN (student_id::text, purchase_id::text))
"""
ERASE = f"""
    CREATE FUNCTION erase_reasons(people_and_purchases uuid[], OUT records integer, OUT events integer)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        UPDATE audit_records SET reason = NULL, reason_erased = true WHERE reason IS NOT NULL AND {ABOUT};
        GET DIAGNOSTICS records = ROW_COUNT;
        UPDATE events SET data = (data::jsonb - 'reason' #- '{{act,reason}}')::json
        WHERE type IN ('audit.recorded.v1', 'purchase.ended.v1')
            AND (data::jsonb ? 'reason' OR data::jsonb -> 'act' ? 'reason') AND {ABOUT};
        GET DIAGNOSTICS events = ROW_COUNT;
    END $$
"""  # the condition above


def upgrade() -> None:
    logins = ddl.logins()
    erasure_ddl.create_v1(logins)
    for statement in (
        "ALTER TABLE audit_records ADD COLUMN reason_erased boolean NOT NULL DEFAULT false",
        ERASE,
        "REVOKE ALL ON FUNCTION erase_reasons(uuid[]) FROM PUBLIC",
    ):
        op.execute(statement)
