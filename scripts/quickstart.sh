#!/usr/bin/env bash
# Brings up a whole cluster on this machine (NATS with JetStream, one coordinator, two workers), proves a real program on it, verifies the
# proof with a separate process, checks the output against SHA-256 computed outside the guest, and stops everything.
#
#   scripts/quickstart.sh            prove and stop
#   scripts/quickstart.sh --keep     leave the cluster running; prints how to use and stop it
#
# Needs a Rust toolchain; installs nats-server into .tools/ of this checkout if no new enough one is installed. Ports are free ones; all state is
# under .quickstart/ of this checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/cluster.sh
. scripts/lib/cluster.sh

readonly HASHES=160 LOG_SEGMENT_STEPS=16 MIN_SEGMENTS=8

keep=false
case "${1:-}" in
"") ;;
--keep) keep=true ;;
*)
    sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
    ;;
esac
trap 'fail "A command failed (line $LINENO)."' ERR

state="$PWD/.quickstart"
if [ -e "$state/pid" ] && kill -0 "$(cat "$state/pid")" 2>/dev/null; then
    fail "A cluster started with --keep is still running. Stop it first: kill \$(cat '$state/pid')"
fi
$keep || trap stop_all EXIT

step "looking for what is needed"
find_tools
step "building"
build
rm -rf "$state"
mkdir -p "$state"
step "starting NATS on a free port, a coordinator and two workers"
start_cluster 2

step "proving $HASHES chained SHA-256 hashes"
hashes_input "$HASHES" "$state/input.bin"
"$bin/zisk" prove --program guests/elf/sha-hasher.elf --input "$state/input.bin" \
    --segment-log-steps "$LOG_SEGMENT_STEPS" --out "$state/proof.bin" --json >"$state/result.json"
segments=$(sed -n 's/.*"segments":[[:space:]]*\([0-9]*\).*/\1/p' "$state/result.json" | head -n 1)
[ "${segments:-0}" -ge "$MIN_SEGMENTS" ] || fail "The job had ${segments:-no} segments, at least $MIN_SEGMENTS were expected."

step "verifying the proof with a separate process"
"$bin/zisk" verify "$state/proof.bin" --program guests/elf/sha-hasher.elf --json >"$state/verified.json"

step "checking the output against sha256sum"
digest=$(printf '00%.0s' {1..32})
for ((i = 0; i < HASHES; i++)); do
    # shellcheck disable=SC2001
    digest=$(printf '%b' "$(sed 's/../\\x&/g' <<<"$digest")" | sha256sum | cut -d ' ' -f 1)
done
# Public outputs are 32-bit little-endian words: the first eight hold the digest's bytes.
proven=$(tr -d ' \n' <"$state/verified.json" | sed -n 's/.*"outputs":\[\([0-9,]*\)\].*/\1/p' | tr ',' '\n' | head -n 8 |
    while read -r word; do printf '%02x%02x%02x%02x' $((word & 255)) $((word >> 8 & 255)) $((word >> 16 & 255)) $((word >> 24 & 255)); done)
[ "$proven" = "$digest" ] || fail "The proof says $proven, sha256sum says $digest."

printf '\nProven in %s segments by two workers and verified: SHA-256 applied %s times gives\n  %s\n' "$segments" "$HASHES" "$digest"
if $keep; then
    cat <<EOF

The cluster is still running. Use it:
  export PATH="$bin:\$PATH" ZISK_NATS_URL=$ZISK_NATS_URL
  zisk prove --program guests/elf/sha-hasher.elf --input "$state/input.bin" --out proof.bin
  zisk verify proof.bin --program guests/elf/sha-hasher.elf
Stop it:
  kill \$(cat "$state/pid")
EOF
fi
