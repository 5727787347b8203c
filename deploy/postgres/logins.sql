-- The four logins of one service. Run by a superuser, in any database; can be run again, which sets the passwords and
-- removes what a login has set for itself (ALTER ROLE ... SET). The settings bursar.service and bursar.<login>_password
-- say for whom. testkit runs this file, too.
SET client_min_messages = warning;
DO $$
DECLARE
    service text := current_setting('bursar.service');
    login record;
BEGIN
    FOR login IN
        SELECT service || suffix AS name, current_setting('bursar.' || title || '_password') AS password
        FROM (VALUES ('owner', '_owner'), ('worker', ''), ('api', '_api'), ('staff', '_staff')) AS logins (title, suffix)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login.name) THEN
            EXECUTE format('CREATE ROLE %I', login.name);
        END IF;
        EXECUTE format('ALTER ROLE %I RESET ALL', login.name);
        EXECUTE format(
            'ALTER ROLE %I LOGIN INHERIT NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD %L',
            login.name, login.password
        );
    END LOOP;
    -- The owner sees the rows that the worker sees, for migrations that change data.
    EXECUTE format('GRANT %I TO %I', service, service || '_owner');
    -- Staff may do what everybody may, and more.
    EXECUTE format('GRANT %I TO %I', service || '_api', service || '_staff');
END $$;
