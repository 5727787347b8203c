#!/bin/bash
# Writes the broker's users and permissions, then starts it. The broker loads them at every start (see bursar.conf), so a
# changed password takes effect with a restart. Passwords: <SERVICE>_AMQP_PASSWORD and RABBITMQ_ADMIN_PASSWORD.
#
# A service may configure, write and read its own queues, declare and read the events exchange, and write to the default
# exchange (which dead letters and retries need). On the events exchange it may publish only its own event types.
set -euo pipefail
definitions=/run/bursar/definitions.json
exchange='bursar[.]events'

# service, and the first words of the event types that it may publish
services='
webhook-gateway        payment|subscription|customer|mandate
checkout               payment|subscription|purchase|student|refund|catalog|receipt|installment|collection|stripe_events
enrollment             enrollment
instructor-assignment  instructor
milady-integration     milady
notifications          notification
'

json() { # quotes a password as a JSON string
  local escaped=${1//\\/\\\\}
  echo "\"${escaped//\"/\\\"}\""
}

users="{\"name\": \"admin\", \"password\": $(json "${RABBITMQ_ADMIN_PASSWORD:?}"), \"tags\": [\"administrator\"]}"
permissions='{"user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}'
topic_permissions=
while read -r name families; do
  [ -n "$name" ] || continue
  password=${name//-/_} password=${password^^}_AMQP_PASSWORD
  user_vhost="\"user\": \"$name\", \"vhost\": \"/\""
  own="^$name[.]|^$exchange\$"
  users+=", {\"name\": \"$name\", \"password\": $(json "${!password:?}"), \"tags\": []}"
  permissions+=", {$user_vhost, \"configure\": \"$own\", \"write\": \"$own|^amq[.]default\$\", \"read\": \"$own\"}"
  topic_permissions+="${topic_permissions:+, }{$user_vhost, \"exchange\": \"bursar.events\", \"write\": \"^($families)[.]\", \"read\": \".*\"}"
done <<<"$services"

umask 077
cat >"$definitions" <<EOJ
{"vhosts": [{"name": "/"}],
 "users": [$users],
 "permissions": [$permissions],
 "topic_permissions": [$topic_permissions]}
EOJ
[ "$(id -u)" != 0 ] || chown rabbitmq "$definitions"
exec docker-entrypoint.sh "$@"
