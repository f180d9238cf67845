#!/usr/bin/env bash
# The Helm chart without a cluster: linted, rendered with its defaults and each of compose/helm/examples, every object validated strictly, mistakes
# refused (compose/helm/check.py). Installs what that needs into .tools/helm of this checkout, at the versions in compose/helm/requirements.txt.
#
# ZISK_BINARIES   folder of zisk-coordinator and zisk-worker, which are asked whether they take the settings [default: target/release]
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.tools/helm
if ! cmp -s compose/helm/requirements.txt "$venv/installed.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" || {
        echo "test-helm: python3 with venv is needed: apt-get install python3-venv" >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement compose/helm/requirements.txt
    cp compose/helm/requirements.txt "$venv/installed.txt"
fi
exec "$venv/bin/python" compose/helm/check.py
