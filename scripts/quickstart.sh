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

step() { printf '\n==> %s\n' "$1" >&2; current=$1; }
fail() {
    printf '\nquickstart failed while: %s\n%s\n' "$current" "$1" >&2
    [ -d "${state:-}" ] && printf 'Logs are in %s\n' "$state" >&2
    exit 1
}
current="starting"
trap 'fail "A command failed (line $LINENO)."' ERR

pids=()
stop_all() {
    trap - ERR
    # Workers and coordinator first: they say goodbye to NATS.
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
}
$keep || trap stop_all EXIT

step "looking for what is needed"
command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer (https://rustup.rs) and run this again."
if ! command -v cc >/dev/null; then
    command -v apt-get >/dev/null || fail "A C compiler is missing: install gcc."
    sudo=(); [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev
fi
nats=$(scripts/install-nats.sh) || fail "No usable nats-server (see above)."

step "building"
cargo build --release --locked --bins
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
bin="$target/release"

state="$PWD/.quickstart"
rm -rf "$state"
mkdir -p "$state/nats"

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what did not happen in time."
        sleep 0.2
    done
}
start() { # start NAME COMMAND...
    local name=$1
    shift
    "$@" >"$state/$name.log" 2>&1 &
    pids+=("$!")
    echo "$!" >>"$state/pids"
}

step "starting NATS on a free port"
cat >"$state/nats.conf" <<EOF
listen: "127.0.0.1:-1"
ports_file_dir: "$state/nats"
jetstream { store_dir: "$state/nats/store", sync_interval: always }
EOF
start nats "$nats" -c "$state/nats.conf"
ports_file_there() { compgen -G "$state/nats/*.ports" >/dev/null; }
wait_for 20 "nats-server's start" ports_file_there
port=$(sed -n 's/.*nats:\/\/127\.0\.0\.1:\([0-9]*\).*/\1/p' "$state"/nats/*.ports | head -n 1)
[ -n "$port" ] || fail "nats-server did not say its port."
export ZISK_NATS_URL="nats://127.0.0.1:$port"

step "starting a coordinator and two workers"
start coordinator "$bin/zisk-coordinator" --nats-url "$ZISK_NATS_URL" --metrics-port 0
for i in 1 2; do
    start "worker-$i" "$bin/zisk-worker" --nats-url "$ZISK_NATS_URL" --compute-capacity 1
done
for i in 1 2; do
    wait_for 30 "registration of worker $i" grep -q "registered as worker" "$state/worker-$i.log"
done

step "proving $HASHES chained SHA-256 hashes"
# The input: the number of hashes, 8 bytes little-endian.
printf '%b' "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((HASHES & 255)) $((HASHES >> 8)))" >"$state/input.bin"
"$bin/zisk" prove --nats-url "$ZISK_NATS_URL" --program guests/elf/sha-hasher.elf --input "$state/input.bin" \
    --segment-log-steps "$LOG_SEGMENT_STEPS" --out "$state/proof.bin" --json >"$state/result.json"
segments=$(sed -n 's/.*"segments":[[:space:]]*\([0-9]*\).*/\1/p' "$state/result.json" | head -n 1)
[ "${segments:-0}" -ge "$MIN_SEGMENTS" ] || fail "The job had ${segments:-no} segments, at least $MIN_SEGMENTS were expected."

step "verifying the proof with a separate process"
"$bin/zisk" verify "$state/proof.bin" --program guests/elf/sha-hasher.elf --json >"$state/verified.json"

step "checking the output against sha256sum"
digest=$(printf '\0%.0s' {1..32} | od -An -v -tx1 | tr -d ' \n')
for ((i = 0; i < HASHES; i++)); do
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
  export ZISK_NATS_URL=$ZISK_NATS_URL
  "$bin/zisk" prove --program guests/elf/sha-hasher.elf --input "$state/input.bin" --out proof.bin
  "$bin/zisk" verify proof.bin --program guests/elf/sha-hasher.elf
Stop it:
  kill \$(tac "$state/pids")
EOF
fi
