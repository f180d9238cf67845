#!/usr/bin/env bash
# The compose stack, for real, in each of its variants: up with two workers, a proof, then one more for each kind of container that is killed or cut
# off in the middle of it, a clean stop, nothing left behind. Takes some minutes a variant and needs Docker; not part of scripts/test.sh.
#
#   compose/test.sh                       every variant, built from the images that compose.yaml names
#   compose/test.sh --variant single      compose.yaml by itself; or directory, replicated, s3, secure: with that override
#   compose/test.sh --local               from the base images of scripts/compose-images.sh, where none can be pulled (they stay for the next run)
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

variants=(single directory replicated s3 secure)
local=
while [ $# -gt 0 ]; do
    case "$1" in
    --local) local=yes ;;
    --variant)
        variants=("${2:-}")
        case "${2:-}" in
        single | directory | replicated | s3 | secure) ;;
        *) fail "--variant is single, directory, replicated, s3 or secure." ;;
        esac
        shift
        ;;
    *)
        sed -n '2,11s/^# \{0,1\}//p' "$0"
        exit 2
        ;;
    esac
    shift
done

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
export ZISK_TAG="test-$$" ZISK_NATS_PORT ZISK_NATS_PORT_2 ZISK_NATS_PORT_3 ZISK_METRICS_PORT ZISK_S3_PORT ZISK_PROMETHEUS_PORT
ZISK_NATS_PORT=$(free_port)
ZISK_NATS_PORT_2=$(free_port)
ZISK_NATS_PORT_3=$(free_port)
ZISK_METRICS_PORT=$(free_port)
ZISK_S3_PORT=$(free_port)
ZISK_PROMETHEUS_PORT=$(free_port)
state=$(mktemp -d)
files=()

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
    for name in nats coordinator worker s3 prometheus; do docker rmi "zisk-$name:$ZISK_TAG" >/dev/null 2>&1 || true; done
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
all_healthy() { [ "$(containers --filter health=healthy | wc -l)" -eq "$count" ]; }
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

# The coordinator that leads, or one that does not.
coordinator() { # coordinator leads|stands-by
    local id leads
    for id in $(of_service coordinator) $(of_service coordinator-standby); do
        # shellcheck disable=SC2016
        leads=$(docker exec "$id" bash -c 'exec 3<>/dev/tcp/127.0.0.1/9090
            printf "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" >&3
            cat <&3' 2>/dev/null | tr -d '\r' | sed -n 's/^zisk_coordinator_leader //p')
        case "$1-$leads" in leads-1 | stands-by-0)
            echo "$id"
            return
            ;;
        esac
    done
    return 1
}

# survives killed|cut-off WHAT: a job during which a container is killed, or cut off until the job has ended.
survives() {
    local how=$1 what=$2 name="$2-$1" began job victim before network
    step "$variant: a job, and $what is $how in the middle of it"
    began=$(date +%s)
    prove "$name" &
    job=$!
    # A worker has contributed and has not proven: job, assignments and objects are all under way.
    wait_for 120 "The first contribution" found_busy_worker "$began"
    case "$what" in
    worker) ;;
    leader) victim=$(coordinator leads) || fail "No coordinator leads." ;;
    standby) victim=$(coordinator stands-by) || fail "No coordinator stands by." ;;
    *) victim=$(of_service "$what") ;;
    esac
    before=$(restarts "$victim")
    kill -0 "$job" 2>/dev/null || fail "The job was over before $what was $how: set ZISK_HASHES higher."
    case "$how" in
    killed) crash "$victim" ;;
    cut-off)
        network=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' "$victim")
        docker network disconnect "$network" "$victim"
        ;;
    esac
    printf '%s %s seconds into the job\n' "$name" "$(($(date +%s) - began))" >&2
    wait "$job" || fail "The job did not survive: $(tail -n 3 "$state/$name.err")"
    verify "$name"
    printf 'proven and verified after %s seconds\n' "$(($(date +%s) - began))" >&2
    jobs_proven=$((jobs_proven + 1))
    case "$how" in
    killed) wait_for 60 "The restart of $what" test "$(restarts "$victim")" -eq $((before + 1)) ;;
    cut-off)
        # By the name, too, that Compose gave it.
        docker network connect --alias "$(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$victim")" "$network" "$victim"
        ;;
    esac
    wait_for 90 "The recovery of $what" all_healthy
    wait_for 60 "A coordinator that leads" coordinator leads >/dev/null
    wait_for 60 "A coordinator that stands by" coordinator stands-by >/dev/null
    wait_for 60 "Both workers" both_workers
}

both_workers() { [ "$("$zisk" workers --json 2>/dev/null | grep -o '"state": *"\(idle\|busy\)"' | wc -l)" -ge 2 ]; }

printf '%b' "$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' $((HASHES & 255)) $((HASHES >> 8 & 255)))" >"$state/input.bin"
digest=$(printf '00%.0s' {1..32})
for ((i = 0; i < HASHES; i++)); do
    # shellcheck disable=SC2001
    digest=$(printf '%b' "$(sed 's/../\\x&/g' <<<"$digest")" | sha256sum | cut -d ' ' -f 1)
done

# What each variant adds: its file, the containers that there are, what the client is told.
describe() {
    files=(-f compose/compose.yaml)
    count=5
    nodes=(nats)
    export ZISK_NATS_URL="nats://127.0.0.1:$ZISK_NATS_PORT"
    unset ZISK_OBJECT_STORE ZISK_NATS_USER ZISK_NATS_PASSWORD ZISK_NATS_CA ZISK_NATS_CERT ZISK_NATS_KEY
    case "$variant" in
    directory)
        mkdir -p "$state/objects"
        export ZISK_OBJECTS="$state/objects" ZISK_OBJECTS_USER ZISK_OBJECT_STORE="file://$state/objects"
        ZISK_OBJECTS_USER="$(id -u):$(id -g)"
        ;;
    replicated)
        count=7
        nodes=(nats nats-2 nats-3)
        ZISK_NATS_URL+=",nats://127.0.0.1:$ZISK_NATS_PORT_2,nats://127.0.0.1:$ZISK_NATS_PORT_3"
        ;;
    s3)
        count=6
        nodes=(nats s3)
        export ZISK_S3_SECRET_KEY=${ZISK_S3_SECRET_KEY:-test-$RANDOM$RANDOM$RANDOM}
        export ZISK_OBJECT_STORE=s3://zisk AWS_ENDPOINT_URL="http://127.0.0.1:$ZISK_S3_PORT" AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
        export AWS_ACCESS_KEY_ID=zisk AWS_SECRET_ACCESS_KEY=$ZISK_S3_SECRET_KEY
        ;;
    secure)
        export ZISK_CERTS="$state/certs" ZISK_NATS_URL="tls://127.0.0.1:$ZISK_NATS_PORT" ZISK_NATS_USER=client
        compose/nats/make-certs.sh "$ZISK_CERTS" 2>"$state/certs.log" || fail "No certificates: $(cat "$state/certs.log")"
        for role in COORDINATOR WORKER CLIENT CALLER; do export "ZISK_NATS_${role}_PASSWORD=$role-$RANDOM$RANDOM$RANDOM"; done
        export ZISK_NATS_PASSWORD=$ZISK_NATS_CLIENT_PASSWORD
        export ZISK_NATS_CA="$ZISK_CERTS/client/ca.crt" ZISK_NATS_CERT="$ZISK_CERTS/client/tls.crt" ZISK_NATS_KEY="$ZISK_CERTS/client/tls.key"
        ;;
    esac
    local override=()
    [ "$variant" = single ] || override=(-f "compose/compose.$variant.yaml")
    if [ -n "$local" ]; then
        step "$variant: base images"
        scripts/compose-images.sh "${override[@]}"
        files+=(-f compose/compose.local.yaml)
    fi
    files+=("${override[@]}")
    if [ -n "$local" ] && [ "$variant" = s3 ]; then files+=(-f compose/compose.s3.local.yaml); fi
}

# What a container may do, whoever gets into it.
confined() {
    local id=$1 user=10001
    # Of the directory's owner.
    [ "$variant" != directory ] || user="10001 $(id -u)"
    [[ " $user " = *" $(docker exec "$id" id -u) "* ]] || fail "A container runs as another user than 10001."
    docker exec "$id" bash -c 'echo >/usr/local/bin/x' 2>/dev/null && fail "A container's root can be written to."
    docker exec "$id" grep -q '^CapEff:[[:space:]]*0*$' /proc/1/status || fail "A container's process has capabilities."
    docker exec "$id" grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/1/status || fail "A container's process may gain privileges."
}

# Keys and passwords are in no command line and in no log.
keeps_secrets() {
    local id secret
    for secret in "${!ZISK_NATS_@}" ZISK_S3_SECRET_KEY; do
        case "$secret" in *PASSWORD | *SECRET_KEY) ;; *) continue ;; esac
        [ -n "${!secret:-}" ] || continue
        for id in $(containers); do
            ! docker top "$id" -o pid,args | grep -qF -- "${!secret}" || fail "$secret is seen in a list of processes."
            ! docker logs "$id" 2>&1 | grep -qF -- "${!secret}" || fail "$secret is in a log."
        done
    done
}

# Who lacks the certificate, or the password, is told so.
lets_nobody_in() {
    local said
    said=$(env -u ZISK_NATS_CERT -u ZISK_NATS_KEY "$zisk" jobs 2>&1) && fail "A client without a certificate is let in."
    grep -q 'ZISK_NATS_CERT' <<<"$said" || fail "A client without a certificate is told: $said"
    said=$(ZISK_NATS_PASSWORD=another "$zisk" jobs 2>&1) && fail "A client with another password is let in."
    grep -q 'ZISK_NATS_PASSWORD' <<<"$said" || fail "A client with another password is told: $said"
}

# Both coordinators, both workers, itself.
is_scraped() {
    (exec 3<>"/dev/tcp/127.0.0.1/$ZISK_PROMETHEUS_PORT" && printf 'GET /api/v1/query?query=sum(up) HTTP/1.0\r\n\r\n' >&3 && cat <&3) 2>/dev/null | grep -q '"5"'
}

monitored() {
    step "$variant: monitoring"
    COMPOSE_PROFILES=prometheus compose up -d --scale worker=2 >"$state/up.log" 2>&1 || fail "Prometheus does not start: $(tail -n 5 "$state/up.log")"
    wait_for 90 "The scrape of all by Prometheus" is_scraped
    [ "$(docker exec "$(of_service prometheus)" id -u)" = 10001 ] || fail "Prometheus runs as another user than 10001."
    COMPOSE_PROFILES=prometheus compose rm -fsv prometheus >"$state/rm.log" 2>&1
}

jobs_proven=0
for variant in "${variants[@]}"; do
    describe
    step "$variant: building"
    compose build >"$state/build.log" 2>&1 || fail "The images cannot be built: $(tail -n 5 "$state/build.log")"
    docker images --format '{{.Repository}} {{.Tag}} {{.Size}}' | sed -n "s/^\(zisk-[a-z0-9]*\) $ZISK_TAG /\1: /p" >&2
    step "$variant: starting with two workers"
    compose up -d --scale worker=2 >"$state/up.log" 2>&1 || fail "The stack does not start: $(tail -n 5 "$state/up.log")"
    wait_for 120 "All $count containers' health" all_healthy

    step "$variant: what the containers may do"
    for id in $(containers); do confined "$id"; done
    (exec 3<>"/dev/tcp/127.0.0.1/$ZISK_METRICS_PORT" && printf 'GET /metrics HTTP/1.1\r\n\r\n' >&3 && cat <&3) >"$state/metrics"
    head -n 1 "$state/metrics" | grep -q ' 200 ' || fail "The coordinator's metrics are not published."

    step "$variant: a job"
    prove plain || fail "The job failed: $(tail -n 3 "$state/plain.err")"
    verify plain
    jobs_proven=$((jobs_proven + 1))
    [ "$variant" != directory ] || [ -n "$(find "$ZISK_OBJECTS" -type f)" ] || fail "Nothing is in the directory."
    for what in worker leader standby "${nodes[@]}"; do survives killed "$what"; done
    for what in worker leader; do survives cut-off "$what"; done
    keeps_secrets
    if [ "$variant" = secure ]; then lets_nobody_in; fi
    if [ "$variant" = single ]; then monitored; fi

    step "$variant: stopping"
    stopping=$SECONDS
    compose stop >"$state/stop.log" 2>&1
    [ $((SECONDS - stopping)) -lt 40 ] || fail "Stopping took $((SECONDS - stopping)) seconds: something had to be killed."
    for id in $(containers --all); do
        code=$(docker inspect --format '{{.State.ExitCode}}' "$id")
        [ "$code" -eq 0 ] || fail "$(docker inspect --format '{{.Name}}' "$id") ended with $code when asked to stop."
    done

    step "$variant: down -v"
    all_down
done
printf '\n%s: %s jobs proven and verified, all but %s with a container killed or cut off in the middle; %s seconds.\n' \
    "${variants[*]}" "$jobs_proven" "${#variants[@]}" "$SECONDS"
