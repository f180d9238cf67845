#!/usr/bin/env bash
# Runs every test: unit tests, whole proofs, real NATS servers and real processes on free ports. Leaves nothing running.
#
#   scripts/test.sh             the default run (slow things are sampled)
#   ZISK_ATTACK_ALL=1 scripts/test.sh   attacks on every cell of every table instead of a sample
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'scripts/test.sh: %s\n' "$1" >&2; exit 1; }

command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)"
scripts/install-nats.sh >/dev/null || fail "no usable nats-server (see above)"
# The oldest supported server, and one too old that must be refused by name.
scripts/install-nats.sh --version 2.11.11 >/dev/null || fail "no nats-server 2.11.11 (see above)"
scripts/install-nats.sh --version 2.10.26 >/dev/null || fail "no nats-server 2.10.26 (see above)"
# For the dashboards and alerts.
scripts/install-prometheus.sh >/dev/null || fail "no usable prometheus and promtool (see above)"
# For objects in S3.
scripts/install-seaweedfs.sh >/dev/null || fail "no SeaweedFS (see above)"
# For the live view.
scripts/install-chromium.sh >/dev/null || fail "no chromium (see above)"

# Tests and the binaries they start come from one build.
cargo build --release --workspace --bins --locked
cargo test --release --workspace --locked "$@"
