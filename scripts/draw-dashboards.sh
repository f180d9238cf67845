#!/usr/bin/env bash
# Draws the dashboards of compose/grafana/dashboards as docs/images/*.png, on the metrics of a cluster that proves for some minutes and loses a
# worker; without Grafana. Needs Chromium and Prometheus, which it installs as scripts/test.sh
# does, and makes the pictures smaller if there is a pngquant (apt-get install pngquant).
#
#   scripts/draw-dashboards.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'scripts/draw-dashboards.sh: %s\n' "$1" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)"
scripts/install-nats.sh >/dev/null || fail "no usable nats-server (see above)"
scripts/install-prometheus.sh >/dev/null || fail "no usable prometheus (see above)"
scripts/install-chromium.sh >/dev/null || fail "no chromium (see above)"
cargo build --release --locked -p zisk-coordinator -p zisk-worker -p zisk-tests --bins
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
folder=${1:-docs/images}
"$target/release/dashboards" "$folder"
# A quarter of the size, with 64 colours each.
if command -v pngquant >/dev/null; then pngquant --force --strip --ext .png 64 "$folder"/*.png; else echo "no pngquant: the pictures are larger than they need be" >&2; fi
