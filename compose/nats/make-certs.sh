#!/usr/bin/env bash
# Certificates for NATS over TLS, of an authority of your own: one for the servers, one for each role, each in a folder with ca.crt, tls.crt and tls.key
# (the names that Kubernetes Secrets have). Run again it makes what is missing; remove a folder to have its certificate made anew.
#
#   compose/nats/make-certs.sh DIRECTORY            names of the servers: nats, nats-2, nats-3, localhost, 127.0.0.1
#   compose/nats/make-certs.sh DIRECTORY HOST...    these names or addresses, by which clients will call the servers
#
# DIRECTORY can be entered by its owner only; in it keys can be read, so that a container's user can read the folder that is mounted into it. Keep
# DIRECTORY/authority elsewhere: who has its key can be anybody.
set -euo pipefail

readonly AUTHORITY_DAYS=3650 DAYS=365

fail() {
    echo "make-certs: $*" >&2
    exit 1
}

case "${1:-}" in
"" | -*)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 2
    ;;
esac
command -v openssl >/dev/null || fail "openssl is missing: apt-get install openssl"
directory=$1
shift
[ $# -gt 0 ] || set -- nats nats-2 nats-3 localhost 127.0.0.1
names=
for host in "$@"; do
    case "$host" in
    *[!A-Za-z0-9.:*-]*) fail "$host is no name and no address of a host" ;;
    *:* | [0-9]*.[0-9]*.[0-9]*.[0-9]*) names+=",IP:$host" ;;
    *) names+=",DNS:$host" ;;
    esac
done
names=${names#,}

umask 022
mkdir -p "$directory"
chmod 700 "$directory"
cd "$directory"

# key FILE: a new private key.
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

if [ ! -f authority/ca.key ]; then
    mkdir -p -m 700 authority
    key authority/ca.key
    chmod 600 authority/ca.key
    openssl req -x509 -new -key authority/ca.key -days "$AUTHORITY_DAYS" -subj "/CN=zisk authority" -out authority/ca.crt \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign"
fi

# certificate FOLDER SUBJECT USES [NAMES]
certificate() {
    local folder=$1
    [ ! -f "$folder/tls.crt" ] || return 0
    mkdir -p "$folder"
    key "$folder/tls.key"
    chmod 644 "$folder/tls.key"
    openssl req -new -key "$folder/tls.key" -subj "/CN=$2" |
        openssl x509 -req -days "$DAYS" -CA authority/ca.crt -CAkey authority/ca.key -CAcreateserial -out "$folder/tls.crt" -extfile <(
            printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=%s\n' "$3"
            [ -z "${4:-}" ] || printf 'subjectAltName=%s\n' "$4"
        ) 2>/dev/null || fail "no certificate of $folder"
    cp authority/ca.crt "$folder/ca.crt"
    echo "$directory/$folder" >&2
}

# Servers of one cluster come to each other as clients.
certificate nats nats serverAuth,clientAuth "$names"
for role in coordinator worker client; do certificate "$role" "$role" clientAuth; done
