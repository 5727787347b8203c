-- Who may do what in a service's database. Run by a superuser, in that database, after logins.sql; can be run again.
-- Tables are the migrations' business: they grant to <service>_api and <service>_staff. testkit runs this file, too.
SET lock_timeout = '10s';  -- a running system waits for a table's new owner no longer; this is run again after an error
DO $$
DECLARE
    service text := current_database();
    worker text := quote_ident(service);
    owner text := quote_ident(service || '_owner');
    api text := quote_ident(service || '_api');
    staff text := quote_ident(service || '_staff');
    login text;
BEGIN
    FOREACH login IN ARRAY ARRAY[owner, worker, api, staff] LOOP
        EXECUTE format('ALTER ROLE %s IN DATABASE %I RESET ALL', login, service);
    END LOOP;

    -- Before there was an owner's login, the worker's login owned everything.
    IF EXISTS (SELECT FROM pg_class WHERE relowner = worker::regrole AND relnamespace = 'public'::regnamespace) THEN
        EXECUTE format('REASSIGN OWNED BY %s TO %s', worker, owner);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO %s', worker);
        EXECUTE 'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC';
        EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO %s', worker);
    END IF;
    EXECUTE format('ALTER DATABASE %I OWNER TO %s', service, owner);

    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC, %s, %s, %s', service, worker, api, staff);
    EXECUTE format('GRANT ALL ON DATABASE %I TO %s', service, owner);
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %s, %s, %s', service, worker, api, staff);
    EXECUTE format('REVOKE ALL ON SCHEMA public FROM PUBLIC, %s, %s, %s', worker, api, staff);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %s, %s, %s', worker, api, staff);
    EXECUTE format('GRANT ALL ON SCHEMA public TO %s', owner);

    -- What migrations will create: the worker reads and writes rows, and calls functions.
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s REVOKE ALL ON FUNCTIONS FROM PUBLIC', owner);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA public '
        'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %s', owner, worker);
    EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA public '
        'GRANT EXECUTE ON FUNCTIONS TO %s', owner, worker);
END $$;

-- Large objects belong to no table: no policy and no retention reaches them.
REVOKE ALL ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea), lo_open(oid, integer) FROM PUBLIC;
