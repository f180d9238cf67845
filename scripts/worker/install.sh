#!/usr/bin/env bash
# Installs zisk-worker as a service of this machine: scripts/worker/install.sh --help
#
#   curl -fsS $ZISK_INSTALL_URL/scripts/worker/install.sh | sudo ZISK_INSTALL_URL=$ZISK_INSTALL_URL bash -s -- --binary FILE
#
# does the same without a checkout: ZISK_INSTALL_URL is where the files of this repository are served.
set -euo pipefail

component=worker
checkout=""
if [ -n "${BASH_SOURCE[0]:-}" ]; then checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd); fi

# file PATH: a file of this repository, on stdout.
file() {
    if [ -n "$checkout" ]; then
        cat "$checkout/$1"
    else
        curl -fsSL "${ZISK_INSTALL_URL:?set it to where the files of the repository are served, or run this from a checkout}/$1"
    fi
}

macos=$(file scripts/lib/install-macos.sh)
library=$(file scripts/lib/install.sh)
# shellcheck source=scripts/lib/install-macos.sh
. /dev/stdin <<<"$macos"
# shellcheck source=scripts/lib/install.sh
. /dev/stdin <<<"$library"
main "$@"
