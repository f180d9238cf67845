# shellcheck shell=bash
# Installs a service of the cluster on this machine, or into a directory; sourced by scripts/coordinator/install.sh and
# scripts/worker/install.sh, which set `component` and call `main "$@"`. What is macOS's alone is in scripts/lib/install-macos.sh.
#
# Nothing that is as it should be is written again, so that a second run changes nothing and restarts nothing.

: "${component:?}" "${checkout=}"
platform="" root="" binary="" config="" instances=0
start=true enable=true uninstall=false purge=false
# What to restart for: anything that was written.
changed=false

fail() {
    printf 'install: %s\n' "$1" >&2
    exit 1
}

say() { printf '%s\n' "$1"; }

usage() {
    local more=""
    if [ "$component" = worker ]; then
        more="
  --instances N     N services zisk-worker@1 to @N in place of the one; settings of one of them are environment variables in
                    /etc/zisk/worker-N.env
  --no-mpi          accepted: there is no MPI here"
    fi
    cat <<END
Installs zisk-$component as a service: system user, binary, configuration, working directory, systemd unit (macOS: launchd
plist and log rotation); run again, it brings all of them up to date.

  --binary FILE     the binary [default: target/release/zisk-$component of this checkout, else the one on PATH]
  --config FILE     the configuration [default: the one that is there, else the example]$more
  --no-start        do not start it
  --no-enable       do not start it when the machine starts
  --uninstall       stop it and remove all that was installed, its configuration included; what services have put into
                    the working directory is kept
  --purge           with --uninstall: remove that as well
  --root DIRECTORY  into this directory, as for a package: no user is made, no service is touched
  --platform NAME   linux or macos [default: this machine's]
  -h, --help        this
END
}

# That an option has its value.
need() { if [ -z "${2:-}" ]; then fail "$1 needs a value; see --help"; fi; }

read_arguments() {
    while [ $# -gt 0 ]; do
        case "$1" in
        --binary) need "$@" && binary=$2 && shift ;;
        --config) need "$@" && config=$2 && shift ;;
        --root) need "$@" && root=$2 && shift ;;
        --platform) need "$@" && platform=$2 && shift ;;
        --instances)
            [ "$component" = worker ] || fail "--instances is for workers"
            need "$@" && instances=$2 && shift
            [[ $instances =~ ^[1-9][0-9]?$ ]] || fail "--instances $instances: expected 1 to 99"
            ;;
        --no-mpi) [ "$component" = worker ] || fail "--no-mpi is for workers" ;;
        --no-start) start=false ;;
        --no-enable) enable=false ;;
        --uninstall) uninstall=true ;;
        --purge) purge=true ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) fail "unknown option $1; see --help" ;;
        esac
        shift
    done
    if [ -z "$platform" ]; then
        case "$(uname -s)" in
        Linux) platform=linux ;;
        Darwin) platform=macos ;;
        *) fail "this system is neither Linux nor macOS" ;;
        esac
    fi
    case "$platform" in linux | macos) ;; *) fail "--platform $platform: expected linux or macos" ;; esac
    ! $purge || $uninstall || fail "--purge goes with --uninstall"
    if [ -n "$root" ]; then
        [[ $root = /* ]] || fail "--root $root: expected an absolute path"
        root=${root%/}
    else
        [ "$(id -u)" -eq 0 ] || fail "this must be run by root (sudo), or with --root DIRECTORY"
    fi
}

set_places() {
    name=zisk-$component
    program=$root/usr/local/bin/$name
    # What the guide calls it.
    alias=$root/usr/local/bin/$name-server
    settings=$root/etc/zisk/$component.toml
    state=$root/var/lib/zisk
    units=$root/etc/systemd/system
    plist=$root/Library/LaunchDaemons/com.zisk.$component.plist
    rotation=$root/etc/newsyslog.d/$name.conf
    logs=$root/var/log/zisk
}

# owned OWNER MODE PATH: as far as this may be said: into a directory for a package, or by nobody but root, it may not.
owned() {
    chmod "$2" "$3"
    if [ -z "$root" ]; then chown "$1" "$3"; fi
}

# folder OWNER MODE PATH
folder() {
    [ -d "$3" ] || mkdir -p "$3"
    owned "$@"
}

# put OWNER MODE FILE PATH: a file in its place, at once, if it is another.
put() {
    if ! cmp -s "$3" "$4"; then
        mkdir -p "$(dirname "$4")"
        cp "$3" "$4.new"
        owned "$1" "$2" "$4.new"
        mv -f "$4.new" "$4"
        changed=true
        say "wrote ${4#"$root"}"
    fi
    owned "$1" "$2" "$4"
}

# put_text OWNER MODE PATH: the same of stdin.
put_text() {
    local text
    text=$(mktemp)
    cat >"$text"
    put "$1" "$2" "$text" "$3"
    rm -f "$text"
}

find_binary() {
    if [ -z "$binary" ]; then
        local built="${checkout:+$checkout/target/release/$name}"
        if [ -n "$built" ] && [ -x "$built" ]; then
            binary=$built
        else
            # The one that is installed is the one to be kept.
            binary=$(command -v "$name") || fail "no $name: build it (cargo build --release), or name it with --binary"
        fi
    fi
    [ -x "$binary" ] || fail "--binary $binary is not a program"
    # A file for another system would only fail as a service. Into a directory, it may be for one.
    if [ -z "$root" ]; then "$binary" --version >/dev/null || fail "$binary does not run here (see above)"; fi
}

# Before anything is written: what is wrong with it is said here.
check_config() {
    [ -z "$config" ] || [ -r "$config" ] || fail "--config $config cannot be read"
    local used=${config:-$settings}
    if [ -n "$root" ] || [ ! -e "$used" ]; then return; fi
    "$binary" --config "$used" --print-config >/dev/null || fail "the configuration is not usable (see above): nothing is changed"
}

make_user() {
    if [ -n "$root" ]; then return; fi
    if [ "$platform" = macos ]; then
        make_macos_user
        return
    fi
    local nologin
    nologin=$(PATH="$PATH:/usr/sbin:/sbin" command -v nologin) || nologin=/bin/false
    getent group zisk >/dev/null || groupadd --system zisk
    if ! getent passwd zisk >/dev/null; then
        useradd --system --gid zisk --no-create-home --home-dir /var/empty --shell "$nologin" --comment "$user_note" zisk
        say "made user zisk"
    fi
}

# By which uninstalling knows the user as its own.
readonly user_note="ZisK services"

remove_user() {
    if [ -n "$root" ]; then return; fi
    if [ "$platform" = macos ]; then
        if [ "$(dscl . -read /Users/zisk RealName 2>/dev/null | tail -n 1 | sed 's/^ *//')" = "$user_note" ]; then
            dscl . -delete /Users/zisk
            dscl . -delete /Groups/zisk
        fi
    elif [ "$(getent passwd zisk | cut -d : -f 5)" = "$user_note" ]; then
        userdel zisk
        # Where it does not go with its only user.
        if getent group zisk >/dev/null; then groupdel zisk; fi
    fi
}

install_files() {
    folder root:0 755 "$root/usr/local/bin"
    put root:0 755 "$binary" "$program"
    if [ "$(readlink "$alias")" != "$name" ]; then ln -sf "$name" "$alias"; fi
    folder root:0 755 "$root/etc/zisk"
    # It may hold a password for NATS.
    if [ -n "$config" ]; then
        put root:zisk 640 "$config" "$settings"
    elif [ ! -e "$settings" ]; then
        file "scripts/$component/$component.toml" | put_text root:zisk 640 "$settings"
    fi
    folder zisk:zisk 750 "$state"
    folder zisk:zisk 750 "$state/.zisk"
    folder zisk:zisk 750 "$state/.zisk/cache"
}

# The unit; `%i` stands for the instance of a template.
systemd_unit() {
    local template=$1 arguments="" meminfo="ProcSubset=pid"
    # Workers read how much memory there is.
    if [ "$component" = worker ]; then meminfo="# /proc/meminfo says how much memory there is: ProcSubset= stays as it is."; fi
    if $template; then arguments="Environment=ZISK_WORKER_ID=%H-%i
EnvironmentFile=-/etc/zisk/worker-%i.env"; fi
    cat <<END
# Written by scripts/$component/install.sh, which overwrites changes: make yours with \`systemctl edit\`.
[Unit]
Description=ZisK $component$(if $template; then printf ' %%i'; fi)
Wants=network-online.target
After=network-online.target nats-server.service
# NATS may be away for long; it is tried again all the time.
StartLimitIntervalSec=0

[Service]
Type=exec
User=zisk
Group=zisk
WorkingDirectory=/var/lib/zisk
Environment=HOME=/var/lib/zisk
EnvironmentFile=-/etc/zisk/$component.env
${arguments:+$arguments
}ExecStart=/usr/local/bin/$name --config /etc/zisk/$component.toml
Restart=on-failure
RestartSec=5
# More than the 30 seconds it takes at most to finish what is in hand.
TimeoutStopSec=45
LimitNOFILE=65536

# The only place it may write to; an object store in another directory needs a ReadWritePaths= of its own.
ProtectSystem=strict
ReadWritePaths=/var/lib/zisk
UMask=0027
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectHome=yes
ProtectProc=invisible
$meminfo
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
END
}

install_systemd() {
    mkdir -p "$units"
    systemd_unit false | put_text root:0 644 "$units/$name.service"
    if [ "$component" = worker ]; then systemd_unit true | put_text root:0 644 "$units/$name@.service"; fi
    if [ -n "$root" ]; then return; fi
    systemctl daemon-reload
    local wanted=("$name.service") unit n
    if [ "$instances" -gt 0 ]; then
        wanted=()
        for ((n = 1; n <= instances; n++)); do wanted+=("$name@$n.service"); done
    fi
    # Those of an earlier choice.
    for unit in $(our_units); do
        if [[ " ${wanted[*]} " != *" $unit "* ]]; then systemctl disable --quiet --now "$unit"; fi
    done
    if $enable; then systemctl enable --quiet "${wanted[@]}"; fi
    if ! $start; then return; fi
    for unit in "${wanted[@]}"; do
        if $changed && systemctl is-active --quiet "$unit"; then systemctl restart "$unit"; else systemctl start "$unit"; fi
    done
    sleep 2
    for unit in "${wanted[@]}"; do
        if ! systemctl is-active --quiet "$unit"; then
            journalctl --no-pager --lines 20 --unit "$unit" >&2 || true
            fail "$unit does not stay (see above): mend /etc/zisk/$component.toml, then systemctl restart $unit"
        fi
        say "$unit is running; its log: journalctl -u $unit -f"
    done
}

# Services of this component that are enabled or running.
our_units() {
    {
        systemctl list-units --plain --no-legend --all "$name.service" "$name@*.service" | awk '$3 == "active" || $3 == "activating" || $3 == "failed" { print $1 }'
        systemctl list-unit-files --plain --no-legend --state=enabled "$name.service" | awk '{ print $1 }'
        find "$units" -maxdepth 2 -path '*.wants/*' -name "$name@*.service" -printf '%f\n'
    } | sort -u
}

remove_all() {
    if [ "$platform" = linux ]; then
        if [ -z "$root" ]; then
            local unit
            for unit in $(our_units); do systemctl disable --quiet --now "$unit" 2>/dev/null || systemctl stop "$unit" || true; done
        fi
        rm -f "$units/$name.service" "$units/$name@.service"
        if [ -z "$root" ]; then
            systemctl daemon-reload
            systemctl reset-failed "$name.service" "$name@*.service" 2>/dev/null || true
        fi
    else
        if [ -z "$root" ]; then launchctl bootout "system/com.zisk.$component" 2>/dev/null || true; fi
        rm -f "$plist" "$rotation" "$logs/$name-server.log"*
    fi
    rm -f "$program" "$alias" "$settings" "$root/etc/zisk/$component.env"
    if [ "$component" = worker ]; then rm -f "$root"/etc/zisk/worker-*.env; fi
    # What both components share goes with the last.
    local other=coordinator
    if [ "$component" = coordinator ]; then other=worker; fi
    if [ -e "$root/usr/local/bin/zisk-$other" ]; then return; fi
    rm -rf "$state/.zisk"
    if $purge; then rm -rf "$state"; fi
    local directory
    for directory in "$state" "$root/etc/zisk" "$logs"; do
        if [ -d "$directory" ] && ! rmdir "$directory" 2>/dev/null; then say "kept ${directory#"$root"}: it is not empty"; fi
    done
    remove_user
}

main() {
    set -euo pipefail
    read_arguments "$@"
    set_places
    if $uninstall; then
        remove_all
        say "uninstalled $name"
        return
    fi
    find_binary
    check_config
    make_user
    install_files
    if [ "$platform" = linux ]; then install_systemd; else install_launchd; fi
    if $changed; then say "installed $name"; else say "$name is up to date"; fi
}
