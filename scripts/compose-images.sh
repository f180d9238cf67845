#!/usr/bin/env bash
# Makes the base images of compose/compose.local.yaml on this machine, where none can be pulled: Debian by debootstrap, nats-server from
# .tools/, Prometheus likewise, and the binaries that `cargo build --release` has left (for this machine's processor: not for another's).
#
#   scripts/compose-images.sh                           makes zisk-local/debian (kept once made), zisk-local/nats, zisk-local/build, zisk-local/prometheus
#   scripts/compose-images.sh up --build --scale worker=4   the same, then docker compose with both files and these arguments
#   scripts/compose-images.sh -f compose/compose.replicated.yaml up ...   with this file, too; with compose/compose.s3.yaml also makes
#                                                       zisk-local/seaweedfs
#   scripts/compose-images.sh --remove                  removes these images and what builds kept of them
#
# ZISK_BINARIES   folder of zisk-coordinator and zisk-worker [default: release/ of cargo's target directory]
# DEBIAN_MIRROR   [default: http://deb.debian.org/debian]
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'compose-images: %s\n' "$1" >&2
    exit 1
}

case "${1:-}" in
-h | --help)
    sed -n '2,12s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
--remove)
    docker image prune --force --filter label=zisk.stage=build
    for image in build nats prometheus seaweedfs debian; do
        if docker image inspect "zisk-local/$image" >/dev/null 2>&1; then docker rmi "zisk-local/$image"; fi
    done
    exit 0
    ;;
-f) ;;
-*) fail "unknown option $1; see --help" ;;
esac
files=(-f compose/compose.yaml -f compose/compose.local.yaml)
while [ "${1:-}" = -f ]; do
    [ -f "${2:-}" ] || fail "-f needs a file; see --help"
    files+=(-f "$2")
    shift 2
done

docker version >/dev/null || fail "no Docker engine answers (see above)."
binaries=${ZISK_BINARIES:-}
if [ -z "$binaries" ]; then
    target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    binaries="$target/release"
fi
for binary in zisk-coordinator zisk-worker; do
    [ -x "$binaries/$binary" ] || fail "$binaries/$binary is missing: run 'cargo build --release', or set ZISK_BINARIES."
done
nats=$(scripts/install-nats.sh) || fail "no usable nats-server (see above)."
prometheus=$(scripts/install-prometheus.sh) || fail "no Prometheus (see above)."

sudo=()
temp=$(mktemp -d)
trap '"${sudo[@]}" rm -rf -- "$temp"' EXIT

if ! docker image inspect zisk-local/debian >/dev/null 2>&1; then
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    # Debian keeps it in /usr/sbin, which is not on everyone's path.
    debootstrap=$(PATH="$PATH:/usr/sbin" command -v debootstrap) || fail "debootstrap is missing: apt-get install debootstrap"
    echo "compose-images: installing Debian into an image (a minute)" >&2
    "${sudo[@]}" "$debootstrap" --variant=minbase bookworm "$temp/root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$temp/debootstrap.log" ||
        fail "debootstrap failed: $(tail -n 5 "$temp/debootstrap.log")"
    # As in debian:bookworm-slim: no documentation, no translations, no package lists.
    "${sudo[@]}" tar -C "$temp/root" -c --one-file-system \
        --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/info/*' --exclude='./usr/share/locale/*' \
        --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' --exclude='./dev/*' . |
        docker import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'CMD ["bash"]' \
            - zisk-local/debian >/dev/null
fi

echo "compose-images: packing $nats and the binaries of $binaries" >&2
# pack NAME BASE FOLDER FILE...: the files in one folder of the image; the same files again make no new image.
pack() {
    local name=$1 base=$2 folder=$3
    shift 3
    mkdir -p "$temp/$name/files"
    cp -L "$@" "$temp/$name/files/"
    printf 'FROM %s\nCOPY files %s\nLABEL zisk.stage=build\n' "$base" "$folder" >"$temp/$name/Dockerfile"
    docker build --quiet --tag "zisk-local/$name" "$temp/$name" >"$temp/build.log" 2>&1 || fail "docker build: $(cat "$temp/build.log")"
}
pack nats scratch /usr/local/bin "$nats"
pack prometheus scratch /bin "$prometheus"
pack build zisk-local/debian /out "$binaries/zisk-coordinator" "$binaries/zisk-worker"
case "${files[*]}" in
*compose.s3.yaml*)
    weed=$(scripts/install-seaweedfs.sh) || fail "no SeaweedFS (see above)."
    pack seaweedfs scratch /usr/bin "$weed"
    files+=(-f compose/compose.s3.local.yaml)
    ;;
esac

if [ $# -gt 0 ]; then
    compose=(docker compose)
    docker compose version >/dev/null 2>&1 || compose=(docker-compose)
    "${compose[@]}" "${files[@]}" "$@"
fi
