#!/usr/bin/env bash
# Puts prometheus and promtool into .tools/ of this checkout: installed ones, else those of Debian's package, unpacked and not
# installed: its service would take a port that is none of ours to take.
#
#   scripts/install-prometheus.sh    .tools/prometheus, .tools/promtool; prints the first one's path on stdout. Safe to run again.
#
# ZISK_PROMETHEUS   a folder with both, to be used instead
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/.tools"

fail() {
    printf 'install-prometheus: %s\n' "$1" >&2
    exit 1
}

# use FOLDER: links what is there.
use() {
    local name
    for name in prometheus promtool; do
        "$1/$name" --version >/dev/null 2>&1 || fail "$1/$name is missing or does not run here"
        ln -sf "$(cd -- "$1" && pwd)/$name" "$tools/$name"
    done
    echo "$tools/prometheus"
    exit 0
}

mkdir -p "$tools"
if [ -n "${ZISK_PROMETHEUS:-}" ]; then use "$ZISK_PROMETHEUS"; fi
if "$tools/prometheus" --version >/dev/null 2>&1 && "$tools/promtool" --version >/dev/null 2>&1; then
    echo "$tools/prometheus"
    exit 0
fi
if installed=$(command -v prometheus) && command -v promtool >/dev/null; then use "$(dirname "$installed")"; fi
command -v apt-get >/dev/null || fail "there is no prometheus and promtool: install them, or name their folder in ZISK_PROMETHEUS"

temp=$(mktemp -d)
trap 'rm -rf -- "$temp"' EXIT
# `apt-get download` asks for no rights, updating the lists does.
download() { (cd "$temp" && apt-get download -qq prometheus) >"$temp/log" 2>&1; }
if ! download; then
    sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "$(tail -n 2 "$temp/log"); run 'apt-get update' as root and this again"
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq >&2
    download || fail "Debian's package cannot be fetched: $(tail -n 2 "$temp/log")"
fi
dpkg-deb --extract "$temp"/prometheus_*.deb "$temp/files"
for name in prometheus promtool; do
    "$temp/files/usr/bin/$name" --version >/dev/null 2>&1 || fail "Debian's $name does not run here"
    install -m 755 "$temp/files/usr/bin/$name" "$tools/$name"
done
echo "$tools/prometheus"
