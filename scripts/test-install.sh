#!/usr/bin/env bash
# Tests the install scripts for real: a container in which systemd runs gets NATS, a coordinator and workers as services, proves a
# job, survives a kill, and is uninstalled without a trace (the lists of all files before and after are compared).
#
#   scripts/test-install.sh            needs a Docker engine, root (for debootstrap, unless the image is there), and built binaries
#   scripts/test-install.sh --remove   removes the image
#
# What needs no container is in tests/tests/stories/install.rs, which scripts/test.sh runs.
#
# ZISK_BINARIES   folder of zisk, zisk-coordinator and zisk-worker [default: target/release]
# DEBIAN_MIRROR   [default: http://deb.debian.org/debian]
set -euo pipefail
cd "$(dirname "$0")/.."

image=zisk-local/systemd
container=zisk-test-install-$$
current="starting"
temp=$(mktemp -d)

step() {
    printf '\n==> %s\n' "$1"
    current=$1
}

fail() {
    printf '\ntest-install failed while: %s\n%s\n' "$current" "$1" >&2
    docker exec "$container" journalctl --no-pager --lines 40 --unit 'zisk*' >&2 2>/dev/null || true
    exit 1
}

clean_up() {
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
    rm -rf -- "$temp"
}
trap clean_up EXIT
trap 'fail "line $LINENO"' ERR

case "${1:-}" in
"") ;;
--remove)
    docker rmi "$image"
    exit 0
    ;;
*)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

binaries=${ZISK_BINARIES:-target/release}
for binary in zisk zisk-coordinator zisk-worker; do
    [ -x "$binaries/$binary" ] || fail "$binaries/$binary is missing: run 'cargo build --release', or set ZISK_BINARIES."
done
docker version >/dev/null || fail "no Docker engine answers (see above)."
nats=$(scripts/install-nats.sh) || fail "no usable nats-server (see above)."

if ! docker image inspect "$image" >/dev/null 2>&1; then
    step "installing Debian with systemd into an image (a minute)"
    debootstrap=$(PATH="$PATH:/usr/sbin" command -v debootstrap) || fail "debootstrap is missing: apt-get install debootstrap"
    "$debootstrap" --variant=minbase --include=systemd,systemd-sysv,dbus,curl bookworm "$temp/root" \
        "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$temp/debootstrap.log" ||
        fail "debootstrap failed: $(tail -n 5 "$temp/debootstrap.log")"
    tar -C "$temp/root" -c --one-file-system --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
        --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./dev/*' . |
        docker import --change 'ENV container=docker' --change 'CMD ["/sbin/init"]' - "$image" >/dev/null
fi

step "starting a machine: a container in which systemd is process 1"
capabilities=()
# What systemd and the units' sandboxes need; --privileged would ask for more than some hosts have to give.
for capability in SYS_ADMIN NET_ADMIN SYS_PTRACE SYS_NICE IPC_LOCK AUDIT_CONTROL SYS_BOOT; do capabilities+=(--cap-add "$capability"); done
docker run --detach --tty --name "$container" --cgroupns=host "${capabilities[@]}" \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
    --volume /sys/fs/cgroup:/sys/fs/cgroup:rw --tmpfs /run --tmpfs /run/lock --tmpfs /tmp "$image" >/dev/null

inside() { docker exec "$container" "$@"; }

# wait_for SECONDS COMMAND...: until the command succeeds inside.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until inside "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$* did not succeed in time: $(inside "$@" 2>&1 || true)"
        sleep 0.5
    done
}

wait_for 60 systemctl is-system-running
docker cp -q "$nats" "$container:/opt/nats-server" 2>/dev/null || docker cp "$nats" "$container:/opt/nats-server"
for binary in zisk zisk-coordinator zisk-worker; do docker cp -L "$binaries/$binary" "$container:/opt/$binary" >/dev/null; done
inside mkdir -p /opt/checkout/guests
docker cp scripts "$container:/opt/checkout/scripts" >/dev/null
docker cp guests/elf/sha-hasher.elf "$container:/opt/guest.elf" >/dev/null
inside systemd-run --quiet --unit nats-server /opt/nats-server --jetstream --store_dir /tmp/nats
wait_for 120 systemctl is-active nats-server

# Every file with its owner and mode, and what is in those below /etc; without what runs, logs, and copies that useradd keeps.
files() {
    # shellcheck disable=SC2016
    inside bash -c '
        find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /var/log \) -prune -o -printf "%y %m %u:%g %p %l\n" | sort
        find /etc -xdev -type f ! -name "*-" -exec sha256sum {} + | sort -k 2'
}
files >"$temp/before"

step "installing the coordinator"
inside /opt/checkout/scripts/coordinator/install.sh --binary /opt/zisk-coordinator
inside systemctl is-active zisk-coordinator
inside systemctl is-enabled zisk-coordinator
wait_for 120 curl --fail --silent http://127.0.0.1:9090/ready
[ -z "$(inside curl --fail --silent http://127.0.0.1:9090/health)" ] || fail "/health has a body"
[ "$(inside getent passwd zisk | cut -d : -f 6,7)" = "/var/empty:/usr/sbin/nologin" ] || fail "$(inside getent passwd zisk)"
[ "$(inside stat --format '%U:%G %a' /var/lib/zisk/.zisk/cache)" = "zisk:zisk 750" ] || fail "the working directory is another's"
[ "$(inside stat --format '%U:%G %a' /etc/zisk/coordinator.toml)" = "root:zisk 640" ] || fail "the configuration is another's"

step "installing a worker, then two in its place"
inside /opt/checkout/scripts/worker/install.sh --binary /opt/zisk-worker
inside systemctl is-active zisk-worker
inside bash -c 'echo ZISK_WORKER_COMPUTE_CAPACITY=1 >/etc/zisk/worker.env; echo ZISK_WORKER_METRICS_PORT=9191 >/etc/zisk/worker-1.env'
inside /opt/checkout/scripts/worker/install.sh --binary /opt/zisk-worker --instances 2
inside systemctl is-active zisk-worker@1 zisk-worker@2
if inside systemctl is-active --quiet zisk-worker; then fail "the single worker still runs"; fi
wait_for 120 curl --fail --silent http://127.0.0.1:9191/ready
# shellcheck disable=SC2016
wait_for 120 bash -c '[ "$(journalctl --unit zisk-coordinator --grep "worker registered: .*capacity=1 " --quiet | wc -l)" -ge 2 ]'

step "the units' exposure, as this systemd sees it"
for unit in zisk-coordinator zisk-worker@1; do
    inside systemd-analyze security --threshold=30 --no-pager "$unit.service" | tail -n 1
done

step "proving a job with the services, and verifying it"
inside bash -c "printf '\x10\0\0\0\0\0\0\0' >/tmp/input"
prove() {
    inside /opt/zisk prove --program /opt/guest.elf --input /tmp/input --segment-log-steps 14 --out "/tmp/$1" --timeout 300
    inside /opt/zisk verify "/tmp/$1" --program /opt/guest.elf
}
prove first

step "installing again: nothing changes, nothing is started anew"
pids() { inside systemctl show --property MainPID --value zisk-coordinator zisk-worker@1 zisk-worker@2; }
before=$(pids)
again=$(inside /opt/checkout/scripts/coordinator/install.sh --binary /opt/zisk-coordinator)
again+=$(inside /opt/checkout/scripts/worker/install.sh --binary /opt/zisk-worker --instances 2)
[[ $again != *wrote* && $again == *"zisk-coordinator is up to date"*"zisk-worker is up to date"* ]] || fail "$again"
[ "$before" = "$(pids)" ] || fail "services were started anew"

step "a killed worker and a killed coordinator come back"
inside systemctl kill --signal KILL zisk-worker@1 zisk-coordinator
wait_for 120 curl --fail --silent http://127.0.0.1:9191/ready
wait_for 120 curl --fail --silent http://127.0.0.1:9090/ready
[ "$before" != "$(pids)" ] || fail "they were not killed"

step "an edited configuration is taken after systemctl restart"
inside sed -i 's/^port = 9090/port = 9095/' /etc/zisk/coordinator.toml
inside systemctl restart zisk-coordinator
wait_for 120 curl --fail --silent http://127.0.0.1:9095/ready
prove second

step "a configuration that is wrong is refused before the service is touched"
if inside bash -c 'printf "[metrics]\nprot = 1\n" >/tmp/bad.toml; /opt/checkout/scripts/worker/install.sh --binary /opt/zisk-worker --instances 2 --config /tmp/bad.toml' >"$temp/bad" 2>&1; then
    fail "it was installed"
fi
grep -q "the nearest is metrics.port" "$temp/bad" || fail "$(cat "$temp/bad")"

step "--no-start and --no-enable"
inside systemctl stop zisk-coordinator
inside systemctl disable --quiet zisk-coordinator
inside /opt/checkout/scripts/coordinator/install.sh --binary /opt/zisk-coordinator --no-start --no-enable
if inside systemctl is-active --quiet zisk-coordinator; then fail "started all the same"; fi
if inside systemctl is-enabled --quiet zisk-coordinator; then fail "enabled all the same"; fi

step "uninstalling: no trace is left"
inside /opt/checkout/scripts/worker/install.sh --uninstall
inside getent passwd zisk >/dev/null || fail "the coordinator's user went with the worker"
inside /opt/checkout/scripts/coordinator/install.sh --uninstall
files >"$temp/after"
diff "$temp/before" "$temp/after" || fail "files differ (see above)"
if inside getent passwd zisk || inside getent group zisk; then fail "user or group is left"; fi
[ -z "$(inside systemctl list-units --all --plain --no-legend 'zisk*')" ] || fail "units are left"
[ -z "$(inside bash -c 'cat /proc/[0-9]*/comm 2>/dev/null' | grep '^zisk' || true)" ] || fail "processes are left"

printf '\nInstalled, proven, killed, reinstalled and uninstalled without a trace.\n'
