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

# start NAME COMMAND...: in the background, with its log in $state/NAME.log.
start() {
    local name=$1
    shift
    "$@" >"$state/$name.log" 2>&1 &
    pids+=("$!")
    echo "$!" >>"$state/pids"
}

ports_file_there() { compgen -G "$state/nats/*.ports" >/dev/null; }

# start_cluster WORKERS: NATS on a free port with its own store, a coordinator, workers of one compute unit each.
start_cluster() {
    mkdir -p "$state/nats"
    cat >"$state/nats.conf" <<EOF
listen: "127.0.0.1:-1"
ports_file_dir: "$state/nats"
jetstream { store_dir: "$state/nats/store", sync_interval: always }
EOF
    start nats "$nats" -c "$state/nats.conf"
    wait_for 20 "nats-server's start" ports_file_there
    local port
    port=$(sed -n 's/.*nats:\/\/127\.0\.0\.1:\([0-9]*\).*/\1/p' "$state"/nats/*.ports | head -n 1)
    [ -n "$port" ] || fail "nats-server did not say its port."
    export ZISK_NATS_URL="nats://127.0.0.1:$port"
    start coordinator "$bin/zisk-coordinator" --nats-url "$ZISK_NATS_URL" --metrics-port 0
    local i
    for ((i = 1; i <= $1; i++)); do
        start "worker-$i" "$bin/zisk-worker" --nats-url "$ZISK_NATS_URL" --compute-capacity 1
    done
    for ((i = 1; i <= $1; i++)); do
        wait_for 30 "registration of worker $i" grep -q "registered as worker" "$state/worker-$i.log"
    done
}

# hashes_input COUNT FILE: input of the sha-hasher guest, the count as 8 bytes little-endian.
hashes_input() {
    local bytes="" i
    for ((i = 0; i < 8; i++)); do bytes+=$(printf '\\x%02x' $(($1 >> (8 * i) & 255))); done
    printf '%b' "$bytes" >"$2"
}
