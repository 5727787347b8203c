"""How many students an instructor has is counted where assignments change, not each time that it is asked."""

from alembic import op

revision = "0005"
down_revision = "0004"

_TABLES = ("ai_instructors", "ai_instructor_assignments")


def upgrade() -> None:
    # the owner counts all rows; row-level security is forced on it, too
    statements = [f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in _TABLES]
    statements += [
        "ALTER TABLE ai_instructors ADD students integer NOT NULL DEFAULT 0"
        " CONSTRAINT ck_ai_instructors_students CHECK (students >= 0)",
        # By whoever changes an assignment, also by the previous version's processes. Whoever may not change the
        # instructor would leave a wrong number behind, so that is an error.
        """
        CREATE FUNCTION count_students() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
        BEGIN
            IF TG_OP = 'UPDATE' AND OLD.instructor_id IS NOT DISTINCT FROM NEW.instructor_id THEN
                RETURN NULL;
            END IF;
            IF TG_OP <> 'INSERT' AND OLD.instructor_id IS NOT NULL THEN
                UPDATE ai_instructors SET students = students - 1 WHERE id = OLD.instructor_id;
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'instructor cannot be counted' USING ERRCODE = 'insufficient_privilege';
                END IF;
            END IF;
            IF TG_OP <> 'DELETE' AND NEW.instructor_id IS NOT NULL THEN
                UPDATE ai_instructors SET students = students + 1 WHERE id = NEW.instructor_id;
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'instructor cannot be counted' USING ERRCODE = 'insufficient_privilege';
                END IF;
            END IF;
            RETURN NULL;
        END $$
        """,
        # locks the table against writes until the numbers are complete
        "CREATE TRIGGER count_students AFTER INSERT OR DELETE OR UPDATE OF instructor_id ON ai_instructor_assignments"
        " FOR EACH ROW EXECUTE FUNCTION count_students()",
        "UPDATE ai_instructors SET students = counted.students"
        " FROM (SELECT instructor_id, count(*) AS students FROM ai_instructor_assignments"
        " WHERE instructor_id IS NOT NULL GROUP BY instructor_id) AS counted WHERE id = counted.instructor_id",
    ]
    statements += [f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in _TABLES]
    for statement in statements:
        op.execute(statement)
