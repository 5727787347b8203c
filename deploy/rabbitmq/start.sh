#!/bin/bash
# Writes the broker's users and permissions, then starts it. The broker loads them at every start (see bursar.conf), so a
# changed password takes effect with a restart. Passwords: <SERVICE>_AMQP_PASSWORD, DEPLOYMENT_AMQP_PASSWORD and
# RABBITMQ_ADMIN_PASSWORD.
#
# A service may declare, bind and delete nothing. It reads its own queues, and writes to its own exchange (retries and
# dead letters) and to the events exchange, there only the event types listed for it in publishes.txt. It may read no
# exchange, so that it can bind nothing to one. The deployment's login (the role `migrate`, and operators) may do all.
# https://www.rabbitmq.com/docs/access-control
set -euo pipefail
definitions=${BURSAR_DEFINITIONS:-/run/bursar/definitions.json}
publishes=$(dirname "$0")/publishes.txt

json() { # quotes a password as a JSON string
  local escaped=${1//\\/\\\\}
  echo "\"${escaped//\"/\\\"}\""
}

users="{\"name\": \"admin\", \"password\": $(json "${RABBITMQ_ADMIN_PASSWORD:?}"), \"tags\": [\"administrator\"]}"
users+=", {\"name\": \"deployment\", \"password\": $(json "${DEPLOYMENT_AMQP_PASSWORD:?}"), \"tags\": []}"
permissions='{"user": "admin", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}'
permissions+=', {"user": "deployment", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}'
topic_permissions=
for name in $(sed -n 's/^\([a-z].*\) .*/\1/p' "$publishes" | sort -u); do
  types=$(sed -n "s/^$name //p" "$publishes" | paste -sd'|' -)
  password=${name//-/_} password=${password^^}_AMQP_PASSWORD
  user_vhost="\"user\": \"$name\", \"vhost\": \"/\""
  users+=", {\"name\": \"$name\", \"password\": $(json "${!password:?}"), \"tags\": []}"
  permissions+=", {$user_vhost, \"configure\": \"^\$\", \"write\": \"^(bursar[.]events|$name[.]queues)\$\""
  permissions+=", \"read\": \"^$name[.](?!queues\$)\"}"
  topic_permissions+="${topic_permissions:+, }{$user_vhost, \"exchange\": \"bursar.events\""
  topic_permissions+=", \"write\": \"^(${types//./[.]})\$\", \"read\": \"^\$\"}"
done

umask 077
cat >"$definitions" <<EOJ
{"vhosts": [{"name": "/"}],
 "users": [$users],
 "permissions": [$permissions],
 "topic_permissions": [$topic_permissions]}
EOJ
[ "$(id -u)" != 0 ] || ! id rabbitmq >/dev/null 2>&1 || chown rabbitmq "$definitions"
exec docker-entrypoint.sh "$@"
