#!/bin/bash
# Writes who may do what at the broker, then starts it. The broker reads that at every start (see bursar.conf), so a
# changed password holds after a restart. Passwords come from <SERVICE>_AMQP_PASSWORD and RABBITMQ_ADMIN_PASSWORD.
#
# A service may do anything with its own queues, declare and hear the exchange of all events, and send to single queues
# (the default exchange: dead letters, retries). To the exchange it may say its own facts only.
set -euo pipefail
definitions=/run/bursar/definitions.json
exchange='bursar[.]events'

# service, and the first words of the event types that it says
services='
webhook-gateway        payment|subscription
checkout               payment|subscription|purchase|student|refund|catalog|receipt
enrollment             enrollment
instructor-assignment  instructor
milady-integration     milady
notifications          notification
'

json() { # a password as a JSON string
  local escaped=${1//\\/\\\\}
  echo "\"${escaped//\"/\\\"}\""
}

users="{\"name\": \"admin\", \"password\": $(json "${RABBITMQ_ADMIN_PASSWORD:?}"), \"tags\": [\"administrator\"]}"
permissions='{"user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}'
topic_permissions=
while read -r name says; do
  [ -n "$name" ] || continue
  password=${name//-/_} password=${password^^}_AMQP_PASSWORD
  who="\"user\": \"$name\", \"vhost\": \"/\""
  own="^$name[.]|^$exchange\$"
  users+=", {\"name\": \"$name\", \"password\": $(json "${!password:?}"), \"tags\": []}"
  permissions+=", {$who, \"configure\": \"$own\", \"write\": \"$own|^amq[.]default\$\", \"read\": \"$own\"}"
  topic_permissions+="${topic_permissions:+, }{$who, \"exchange\": \"bursar.events\", \"write\": \"^($says)[.]\", \"read\": \".*\"}"
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
