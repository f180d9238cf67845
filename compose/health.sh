#!/usr/bin/env bash
# health PORT PATH: succeeds when http://127.0.0.1:PORT/PATH answers 200. Bash alone: the images have no curl.
set -euo pipefail
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
read -r _ status _ <&3
[ "$status" = 200 ]
