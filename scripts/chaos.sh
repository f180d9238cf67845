#!/usr/bin/env bash
# Runs a cluster on this machine while its parts are killed, stopped, cut off and tampered with; checks that nothing is lost or wrong.
#
#   scripts/chaos.sh [--minutes N] [--seed S] [--servers 1|3] [--json FILE]     default: 1 minute, a seed of its own choosing, 1
#   scripts/chaos.sh --plan [--minutes N] [--seed S] [--servers 1|3]            shows which fault would come when, and runs nothing
#
# The schedule of faults follows from the seed. Prints jobs by how they ended, faults by kind, recovery times, and work done again;
# exit code 1 when anything is lost or wrong; logs and schedule are then kept.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'scripts/chaos.sh: %s\n' "$1" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)"
scripts/install-nats.sh >/dev/null || fail "no usable nats-server (see above)"
# One build for the cluster and what harms it.
cargo build --release --workspace --bins --locked
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
exec "$target/release/chaos" "$@"
