#!/bin/sh
# Make what compose.yaml and the Kubernetes manifests want to have secret: a password of the database, and a certificate of
# the pages that this machine signs itself (browsers warn of it; take the hospital's instead). What is there is kept.
#
#   sh prepare.sh [NAME ...]     by these names browsers call the node; default: localhost
set -eu
umask 077
secrets="$(dirname "$0")/secrets"
mkdir -p "$secrets"
chmod 700 "$secrets" # also where somebody has made it, to put the hospital's certificate there
[ -f "$secrets/database-password" ] || openssl rand -hex 24 | tr -d '\n' >"$secrets/database-password"
if [ ! -f "$secrets/cert.pem" ]; then
    names=""
    for name in "${@:-localhost}"; do names="$names,DNS:$name"; done
    openssl req -x509 -newkey rsa:3072 -nodes -days 365 -subj "/CN=${1:-localhost}" \
        -addext "subjectAltName=${names#,}" -keyout "$secrets/key.pem" -out "$secrets/cert.pem" 2>/dev/null
fi
# the folder is this user's alone; in the container another user number reads these files, which are mounted one by one
chmod 644 "$secrets/database-password" "$secrets/cert.pem" "$secrets/key.pem"
echo "secrets are in $secrets"
