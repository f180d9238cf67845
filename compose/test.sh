#!/usr/bin/env bash
# The compose stack, for real: up with two workers, a proof, then one more for each kind of container that is killed in the middle of it, a clean
# stop, nothing left behind; one proof with objects in a directory. Takes some minutes and needs Docker; not part of scripts/test.sh.
#
#   compose/test.sh            builds from the images that compose.yaml names
#   compose/test.sh --local    from the base images of scripts/compose-images.sh, where none can be pulled (they stay for the next run)
#
# ZISK_BINARIES   folder of the zisk command (with --local also of what goes into the images) [default: release/ of cargo's target directory]
# ZISK_HASHES     size of each job: 40 hashes are 4 segments or so [default: 60]
set -euo pipefail
cd "$(dirname "$0")/.."

readonly HASHES=${ZISK_HASHES:-60} LOG_SEGMENT_STEPS=16 JOB_SECONDS=600

step() { printf '\n==> %s (%s s)\n' "$1" "$SECONDS" >&2; }

fail() {
    printf '\ncompose/test.sh: %s\n' "$1" >&2
    exit 1
}

files=(-f compose/compose.yaml)
case "${1:-}" in
"") ;;
--local) files+=(-f compose/compose.local.yaml) ;;
*)
    sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
    ;;
esac

if [ -z "${ZISK_BINARIES:-}" ]; then
    target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    ZISK_BINARIES="$target/release"
fi
export ZISK_BINARIES
zisk="$ZISK_BINARIES/zisk"
[ -x "$zisk" ] || fail "$zisk is missing: run 'cargo build --release', or set ZISK_BINARIES."

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# Own names and ports: a stack that is in use is not touched.
project="zisk-test-$$"
export ZISK_TAG="test-$$" ZISK_NATS_PORT ZISK_METRICS_PORT ZISK_PROMETHEUS_PORT
ZISK_PROMETHEUS_PORT=$(free_port)
ZISK_NATS_PORT=$(free_port)
ZISK_METRICS_PORT=$(free_port)
export ZISK_NATS_URL="nats://127.0.0.1:$ZISK_NATS_PORT"
state=$(mktemp -d)

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose -p "$project" "${files[@]}" "$@"
    else
        docker-compose -p "$project" "${files[@]}" "$@"
    fi
}

clean() {
    trap - EXIT
    compose down -v --remove-orphans >"$state/down.log" 2>&1 || true
    local name
    for name in nats coordinator worker prometheus; do docker rmi "zisk-$name:$ZISK_TAG" >/dev/null 2>&1 || true; done
}

at_exit() {
    local status=$?
    [ "$status" -eq 0 ] || compose logs --no-color --timestamps >"$state/containers.log" 2>&1 || true
    clean
    if [ "$status" -eq 0 ]; then rm -rf -- "$state"; else printf 'Logs are in %s\n' "$state" >&2; fi
    exit "$status"
}
trap at_exit EXIT

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what did not happen in time."
        sleep 0.5
    done
}

all_down() {
    local left
    compose down -v >"$state/down.log" 2>&1
    left=$(
        containers --all
        docker volume ls --quiet --filter "label=com.docker.compose.project=$project"
        docker network ls --quiet --filter "label=com.docker.compose.project=$project"
    )
    [ -z "$left" ] || fail "down -v left $left"
}

containers() { docker ps --quiet --filter "label=com.docker.compose.project=$project" "$@"; }
of_service() { containers --filter "label=com.docker.compose.service=$1"; }
all_healthy() { [ "$(containers --filter health=healthy | wc -l)" -eq 5 ]; }
restarts() { docker inspect --format '{{.RestartCount}}' "$1"; }

# crash CONTAINER: SIGKILL from outside of Docker's own commands, for `docker kill` counts as a stop on purpose and nothing restarts it.
crash() {
    local pid
    pid=$(docker inspect --format '{{.State.Pid}}' "$1")
    # shellcheck disable=SC2016
    docker run --rm --pid host --network none --user 0 --entrypoint bash "zisk-nats:$ZISK_TAG" -c 'kill -KILL "$1"' _ "$pid"
}

prove() { # prove NAME
    timeout "$JOB_SECONDS" "$zisk" prove --program guests/elf/sha-hasher.elf --input "$state/input.bin" \
        --segment-log-steps "$LOG_SEGMENT_STEPS" --out "$state/$1.proof" >"$state/$1.out" 2>"$state/$1.err"
}

verify() { # verify NAME: with its outputs against SHA-256 computed here
    local proven
    "$zisk" verify "$state/$1.proof" --program guests/elf/sha-hasher.elf --json >"$state/$1.json" || fail "The proof of $1 is not valid."
    # Public outputs are 32-bit little-endian words: the first eight hold the digest's bytes.
    proven=$(tr -d ' \n' <"$state/$1.json" | sed -n 's/.*"outputs":\[\([0-9,]*\)\].*/\1/p' | tr ',' '\n' | head -n 8 |
        while read -r word; do printf '%02x%02x%02x%02x' $((word & 255)) $((word >> 8 & 255)) $((word >> 16 & 255)) $((word >> 24 & 255)); done)
    [ "$proven" = "$digest" ] || fail "The proof of $1 says $proven, sha256sum says $digest."
}

# The first worker that has contributed since TIME.
busy_worker() {
    local id
    for id in $(of_service worker); do
        if docker logs --since "$1" "$id" 2>&1 | grep -q 'contributed'; then
            echo "$id"
            return
        fi
    done
    return 1
}

found_busy_worker() { victim=$(busy_worker "$1"); }

# survives SERVICE: a job during which a container of the service is killed.
survives() {
    local began job victim before
    step "a job, and $1 is killed in the middle of it"
    began=$(date +%s)
    prove "$1" &
    job=$!
    # A worker has contributed and has not proven: job, assignments and objects are all under way.
    wait_for 120 "The first contribution" found_busy_worker "$began"
    case "$1" in
    worker) ;;
    *) victim=$(of_service "$1") ;;
    esac
    before=$(restarts "$victim")
    kill -0 "$job" 2>/dev/null || fail "The job was over before $1 was killed: set ZISK_HASHES higher."
    crash "$victim"
    printf 'killed %s %s seconds into the job\n' "$1" "$(($(date +%s) - began))" >&2
    wait "$job" || fail "The job did not survive: $(tail -n 3 "$state/$1.err")"
    verify "$1"
    wait_for 60 "The restart of $1" test "$(restarts "$victim")" -eq $((before + 1))
    wait_for 90 "The recovery of $1" all_healthy
    printf 'proven and verified after %s seconds\n' "$(($(date +%s) - began))" >&2
}

printf '%b' "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((HASHES & 255)) $((HASHES >> 8 & 255)))" >"$state/input.bin"
digest=$(printf '00%.0s' {1..32})
for ((i = 0; i < HASHES; i++)); do
    # shellcheck disable=SC2001
    digest=$(printf '%b' "$(sed 's/../\\x&/g' <<<"$digest")" | sha256sum | cut -d ' ' -f 1)
done

step "building"
if [ "${1:-}" = --local ]; then scripts/compose-images.sh; fi
compose build >"$state/build.log" 2>&1 || fail "The images cannot be built: $(tail -n 5 "$state/build.log")"
step "starting with two workers"
compose up -d --scale worker=2 >"$state/up.log" 2>&1 || fail "The stack does not start: $(tail -n 5 "$state/up.log")"
wait_for 90 "All five containers' health" all_healthy

step "what the containers may do"
for id in $(containers); do
    [ "$(docker exec "$id" id -u)" = 10001 ] || fail "A container runs as another user than 10001."
    docker exec "$id" bash -c 'echo >/usr/local/bin/x' 2>/dev/null && fail "A container's root can be written to."
    docker exec "$id" grep -q '^CapEff:[[:space:]]*0*$' /proc/1/status || fail "A container's process has capabilities."
    docker exec "$id" grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/1/status || fail "A container's process may gain privileges."
done
(exec 3<>"/dev/tcp/127.0.0.1/$ZISK_METRICS_PORT" && printf 'GET /metrics HTTP/1.1\r\n\r\n' >&3 && cat <&3) >"$state/metrics"
head -n 1 "$state/metrics" | grep -q ' 200 ' || fail "The coordinator's metrics are not published."

step "a job"
prove plain || fail "The job failed: $(tail -n 3 "$state/plain.err")"
verify plain
for service in worker coordinator nats; do survives "$service"; done

step "monitoring"
# Both coordinators, both workers, itself.
is_scraped() {
    (exec 3<>"/dev/tcp/127.0.0.1/$ZISK_PROMETHEUS_PORT" && printf 'GET /api/v1/query?query=sum(up) HTTP/1.0\r\n\r\n' >&3 && cat <&3) 2>/dev/null | grep -q '"5"'
}
COMPOSE_PROFILES=prometheus compose up -d --scale worker=2 >"$state/up.log" 2>&1 || fail "Prometheus does not start: $(tail -n 5 "$state/up.log")"
wait_for 90 "The scrape of all by Prometheus" is_scraped
[ "$(docker exec "$(of_service prometheus)" id -u)" = 10001 ] || fail "Prometheus runs as another user than 10001."
COMPOSE_PROFILES=prometheus compose rm -fsv prometheus >"$state/rm.log" 2>&1

step "stopping"
stopping=$SECONDS
compose stop >"$state/stop.log" 2>&1
[ $((SECONDS - stopping)) -lt 40 ] || fail "Stopping took $((SECONDS - stopping)) seconds: something had to be killed."
for id in $(containers --all); do
    code=$(docker inspect --format '{{.State.ExitCode}}' "$id")
    [ "$code" -eq 0 ] || fail "$(docker inspect --format '{{.Name}}' "$id") ended with $code when asked to stop."
done

step "down -v"
all_down

step "a job with objects in a directory"
mkdir "$state/objects"
export ZISK_OBJECTS="$state/objects" ZISK_OBJECTS_USER
ZISK_OBJECTS_USER="$(id -u):$(id -g)"
files+=(-f compose/compose.directory.yaml)
compose up -d --scale worker=2 >"$state/up.log" 2>&1 || fail "The stack does not start: $(tail -n 5 "$state/up.log")"
wait_for 90 "All five containers' health" all_healthy
ZISK_OBJECT_STORE="file://$ZISK_OBJECTS" prove directory || fail "The job failed: $(tail -n 3 "$state/directory.err")"
verify directory
[ -n "$(find "$ZISK_OBJECTS" -type f)" ] || fail "Nothing is in the directory."
all_down
printf '\nFive jobs proven and verified; a worker, the coordinator and NATS killed in three of them; %s seconds.\n' "$SECONDS"
