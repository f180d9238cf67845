#!/usr/bin/env bash
# Installs the browser that the test of the live view looks at it with: Debian's chromium, unless there is one or ZISK_CHROMIUM names another.
set -euo pipefail

fail() { printf 'install-chromium: %s\n' "$1" >&2; exit 1; }

command -v "${ZISK_CHROMIUM:-chromium}" >/dev/null && exit 0
[ -z "${ZISK_CHROMIUM:-}" ] || fail "ZISK_CHROMIUM is $ZISK_CHROMIUM, which is no program"
command -v apt-get >/dev/null || fail "there is no chromium: install it, or name another Chromium in ZISK_CHROMIUM"
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "chromium is missing and this is not root: run 'apt-get install chromium'"
    sudo=(sudo)
fi
printf 'install-chromium: installing chromium with apt-get\n' >&2
"${sudo[@]}" apt-get update -qq >&2
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >&2
