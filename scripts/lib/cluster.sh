# shellcheck shell=bash
# Starts a cluster on this machine for quickstart.sh and bench.sh. Sourced, with `set -euo pipefail` on and the checkout as working directory.
#
# Sets: state (folder of logs and stores), bin (folder of binaries), ZISK_NATS_URL, pids.

current="starting"
pids=()

step() {
    printf '\n==> %s\n' "$1" >&2
    current=$1
}

fail() {
    trap - ERR
    printf '\n%s failed while: %s\n%s\n' "$(basename "$0")" "$current" "$1" >&2
    if [ -d "${state:-}" ]; then printf 'Logs are in %s\n' "$state" >&2; fi
    exit 1
}

# Stops what was started, last first: workers and coordinator say goodbye to NATS.
stop_all() {
    trap - ERR
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill "${pids[i]}" 2>/dev/null || true
        wait "${pids[i]}" 2>/dev/null || true
    done
    pids=()
}

# The toolchain, a C compiler, nats-server; sets `nats`.
find_tools() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer (https://rustup.rs) and run this again."
    if ! command -v cc >/dev/null; then
        command -v apt-get >/dev/null || fail "A C compiler is missing: install gcc."
        local sudo=()
        [ "$(id -u)" -eq 0 ] || sudo=(sudo)
        "${sudo[@]}" apt-get update -qq
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev
    fi
    nats=$(scripts/install-nats.sh) || fail "No usable nats-server (see above)."
}

# Builds; sets `bin`.
build() {
    cargo build --release --locked --bins
    local target
    target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    bin="$target/release"
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what did not happen in time."
        sleep 0.2
    done
}

# start_cluster WORKERS: `zisk up` on free ports, in the background: NATS, a coordinator, workers of one compute unit each. The first
# of pids is its process, which stops the others when it is told to.
start_cluster() {
    "$bin/zisk" up --workers "$1" --port 0 --metrics-port 0 --directory "$state" --nats-server "$nats" --json \
        </dev/null >"$state/up.json" 2>"$state/up.log" &
    pids+=("$!")
    echo "$!" >"$state/pid"
    wait_for 90 "the cluster's start (see $state/up.log)" started "$!"
    ZISK_NATS_URL=$(sed -n 's/.*"nats_url":"\([^"]*\)".*/\1/p' "$state/up.json")
    export ZISK_NATS_URL
}

# Whether the cluster has said where it is; fails for good when it has ended instead.
started() {
    kill -0 "$1" || fail "$(tail -n 1 "$state/up.log")"
    [ -s "$state/up.json" ]
}

# hashes_input COUNT FILE: input of the sha-hasher guest, the count as 8 bytes little-endian.
hashes_input() {
    local bytes="" i
    for ((i = 0; i < 8; i++)); do bytes+=$(printf '\\x%02x' $(($1 >> (8 * i) & 255))); done
    printf '%b' "$bytes" >"$2"
}
