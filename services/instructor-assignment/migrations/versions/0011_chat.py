"""What students ask their instructor, and what they are answered; how many tokens each day has used."""

from alembic import op

from kit.db import ddl
from kit.db.erasure_ddl import readable_by_admins
from kit.db.row_security import CALLER, policy

revision = "0011"
down_revision = "0010"

TABLES = (
    """
    CREATE TABLE chat_messages (
        id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT pk_chat_messages PRIMARY KEY,
        assignment_id uuid NOT NULL
            CONSTRAINT fk_chat_messages_assignment_id REFERENCES ai_instructor_assignments (id)
            ON DELETE CASCADE,
        student_id uuid NOT NULL,
        role text NOT NULL CONSTRAINT ck_chat_messages_role CHECK (role IN ('student', 'instructor')),
        text text NOT NULL,
        state text NOT NULL CONSTRAINT ck_chat_messages_state
            CHECK (state IN ('answering', 'complete', 'incomplete', 'failed')),
        tokens integer NOT NULL DEFAULT 0 CONSTRAINT ck_chat_messages_tokens CHECK (tokens >= 0),
        question_id uuid CONSTRAINT uq_chat_messages_question_id UNIQUE
            CONSTRAINT fk_chat_messages_question_id REFERENCES chat_messages (id) ON DELETE CASCADE,
        answered_by text CONSTRAINT ck_chat_messages_answered_by CHECK (answered_by IN ('model', 'tutor')),
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT ck_chat_messages_answer CHECK (
            (role = 'instructor') = (question_id IS NOT NULL) AND (role = 'instructor') = (answered_by IS NOT NULL)
        ),
        CONSTRAINT ck_chat_messages_question CHECK (role = 'instructor' OR (state = 'complete' AND tokens = 0))
    )
    """,
    "CREATE INDEX ix_chat_messages_assignment_id ON chat_messages (assignment_id, created_at, id)",
    "CREATE INDEX ix_chat_messages_student_id ON chat_messages (student_id, created_at)",
    "CREATE INDEX ix_chat_messages_created_at ON chat_messages (created_at)",
    # a student gets one answer at a time
    "CREATE UNIQUE INDEX uq_chat_messages_answering ON chat_messages (student_id) WHERE state = 'answering'",
    """
    CREATE TABLE chat_usage (
        day date NOT NULL CONSTRAINT pk_chat_usage PRIMARY KEY,
        tokens bigint NOT NULL
    )
    """,
    # By the owner: no login that writes answers can suppress or reduce what it counts. Deleting counts nothing.
    """
    CREATE FUNCTION count_chat_tokens() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        INSERT INTO chat_usage AS used (day, tokens)
        VALUES (
            (NEW.created_at AT TIME ZONE 'UTC')::date,
            CASE WHEN TG_OP = 'UPDATE' THEN NEW.tokens - OLD.tokens ELSE NEW.tokens END
        )
        ON CONFLICT (day) DO UPDATE SET tokens = used.tokens + excluded.tokens;
        RETURN NULL;
    END $$
    """,
    "REVOKE ALL ON FUNCTION count_chat_tokens() FROM PUBLIC",
    "CREATE TRIGGER count_new_tokens AFTER INSERT ON chat_messages"
    " FOR EACH ROW WHEN (NEW.tokens <> 0) EXECUTE FUNCTION count_chat_tokens()",
    "CREATE TRIGGER count_changed_tokens AFTER UPDATE ON chat_messages"
    " FOR EACH ROW WHEN (NEW.tokens <> OLD.tokens) EXECUTE FUNCTION count_chat_tokens()",
)
OWN = f"student_id = {CALLER}"
CURRENT = (
    "EXISTS (SELECT FROM ai_instructor_assignments AS assigned WHERE assigned.id = assignment_id"
    f" AND assigned.student_id = {CALLER} AND assigned.status = 'assigned')"
)


def upgrade() -> None:
    logins = ddl.logins()
    statements = [
        *TABLES,
        *logins.close("chat_messages"),
        *logins.close("chat_usage"),
        policy("everybody_reads", "chat_usage", logins.api, "SELECT", "true"),
        f'GRANT SELECT ON chat_usage, chat_messages TO "{logins.api}"',
        f"GRANT INSERT (id, assignment_id, student_id, role, text, state, tokens, question_id, answered_by)"
        f' ON chat_messages TO "{logins.api}"',
        f'GRANT UPDATE (text, state, tokens) ON chat_messages TO "{logins.api}"',
        policy("callers_rows", "chat_messages", logins.api, "SELECT", OWN),
        policy("of_a_current_assignment", "chat_messages", logins.api, "INSERT", f"{OWN} AND {CURRENT}"),
        # what is answered stays as it is
        policy("answer", "chat_messages", logins.api, "UPDATE", f"{OWN} AND state = 'answering'", written=OWN),
        *readable_by_admins(logins, "chat_messages"),
    ]
    for statement in statements:
        op.execute(statement)
