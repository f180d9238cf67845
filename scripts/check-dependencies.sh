#!/usr/bin/env bash
# Checks all dependencies against deny.toml: licences, sources, bans, and the vulnerabilities known to RustSec (whose database cargo-audit
# reads, too). Installs cargo-deny into .tools/ the first time, which takes a minute of two cores.
#
#   scripts/check-dependencies.sh               what needs no network besides crates.io; vulnerabilities where GitHub can be reached
#   scripts/check-dependencies.sh --advisories  vulnerabilities must be checked: a database that cannot be reached is a failure
set -euo pipefail
cd "$(dirname "$0")/.."

readonly VERSION=0.20.2
tool=.tools/cargo-deny-$VERSION

fail() { printf 'check-dependencies: %s\n' "$1" >&2; exit 1; }

case "${1:-}" in
"" | --advisories) ;;
*) sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac

if [ ! -x "$tool/bin/cargo-deny" ]; then
    # Not optimised: it is to be built soon rather than to run fast. In a folder of its own, for the workspace's flags are not for it.
    CARGO_PROFILE_DEV_DEBUG=false RUSTFLAGS="" cargo install cargo-deny --version "$VERSION" --locked --debug --no-default-features \
        --root "$tool" --target-dir "$tool/target" >&2 || fail "cargo-deny $VERSION cannot be built (see above)"
    rm -rf "$tool/target"
fi
"$tool/bin/cargo-deny" --locked check licenses bans sources || fail "see above, and deny.toml"
if "$tool/bin/cargo-deny" fetch db >/dev/null 2>&1; then
    "$tool/bin/cargo-deny" --locked check advisories || fail "a dependency has a known vulnerability (see above)"
elif [ "${1:-}" = --advisories ]; then
    fail "the database of vulnerabilities (github.com/RustSec/advisory-db) cannot be reached"
else
    echo "check-dependencies: vulnerabilities were NOT checked: github.com/RustSec/advisory-db cannot be reached" >&2
fi
