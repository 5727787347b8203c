#!/bin/bash
# Creates for each service a database, the login that owns it, and the login of its API, which owns nothing (the service's
# migrations grant it what it needs). Safe to run again: existing databases are kept, changed passwords are applied.
# PGHOST, PGUSER and PGPASSWORD name the server and its superuser; <SERVICE>_DB_PASSWORD and <SERVICE>_API_DB_PASSWORD are
# the passwords of the two logins.
set -euo pipefail

run() { psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 "$@"; }

for service in webhook_gateway checkout enrollment instructor_assignment milady_integration notifications; do
  owner_password=${service^^}_DB_PASSWORD api_password=${service^^}_API_DB_PASSWORD
  OWNER_PASSWORD=${!owner_password:?} API_PASSWORD=${!api_password:?} \
    run --dbname postgres --set owner="$service" --set api="${service}_api" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv api_password API_PASSWORD
SELECT format('CREATE ROLE %I', wanted) FROM (VALUES (:'owner'), (:'api')) AS roles (wanted)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) \gexec
ALTER ROLE :"owner" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'owner_password';
ALTER ROLE :"api" LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'api_password';
SELECT format('CREATE DATABASE %I OWNER %I', :'owner', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'owner') \gexec
REVOKE ALL ON DATABASE :"owner" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"owner" TO :"api";
SQL
  run --dbname "$service" --set owner="$service" --set api="${service}_api" <<'SQL'
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT ALL ON SCHEMA public TO :"owner";
GRANT USAGE ON SCHEMA public TO :"api";
SQL
done
run --dbname postgres --command 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
