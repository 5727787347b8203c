#!/bin/bash
# Creates for each service a database and four logins (logins.sql), and says who may do what in it (rights.sql). Safe to
# run again: existing databases are kept, changed passwords are applied. PGHOST, PGUSER and PGPASSWORD name the server
# and its superuser; <SERVICE>_OWNER_DB_PASSWORD, _DB_PASSWORD, _API_DB_PASSWORD and _STAFF_DB_PASSWORD are the passwords.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")

run() { psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --set ECHO=none "$@"; }

for service in webhook_gateway checkout enrollment instructor_assignment milady_integration notifications reporting; do
  for login in OWNER_DB DB API_DB STAFF_DB; do
    name=${service^^}_${login}_PASSWORD
    export "${login}_PASSWORD=${!name:?}"
  done
  run --dbname postgres --set service="$service" <<SQL
\\getenv owner OWNER_DB_PASSWORD
\\getenv worker DB_PASSWORD
\\getenv api API_DB_PASSWORD
\\getenv staff STAFF_DB_PASSWORD
SELECT set_config('bursar.service', :'service', false), set_config('bursar.owner_password', :'owner', false),
  set_config('bursar.worker_password', :'worker', false), set_config('bursar.api_password', :'api', false),
  set_config('bursar.staff_password', :'staff', false) \\g /dev/null
\\i $here/logins.sql
SELECT format('CREATE DATABASE %I OWNER %I', :'service', :'service' || '_owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \\gexec
SQL
  run --dbname "$service" --file "$here/rights.sql"
done
run --dbname postgres --command 'REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC'
