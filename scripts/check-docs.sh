#!/usr/bin/env bash
# Checks that links between the Markdown files of this repository lead somewhere, that every path they show in backquotes exists, and
# that every test does which is named as the proof of something.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0
while IFS= read -r file; do
    dir=$(dirname "$file")
    while IFS= read -r link; do
        case "$link" in http*|\#*) continue ;; esac
        if [ ! -e "$dir/${link%%#*}" ]; then
            printf '%s: link to %s leads nowhere\n' "$file" "$link" >&2
            bad=1
        fi
    done < <(grep -o '](\([^)]*\))' "$file" | sed 's/^](//; s/)$//')
    # shellcheck disable=SC2016
    while IFS= read -r path; do
        if [ ! -e "$path" ] && [ ! -e "$dir/$path" ]; then
            # shellcheck disable=SC2016
            printf '%s: `%s` does not exist\n' "$file" "$path" >&2
            bad=1
        fi
    done < <(grep -o '`\(scripts\|prover\|docs\|guests\|common\|worker\|client\|coordinator\|tests\|fuzz\|schemas\|compose\)/[A-Za-z0-9_./-]*`' "$file" |
        tr -d '`' | sort -u)
done < <(git ls-files --cached --others --exclude-standard '*.md')
# Four words and more are a test's name; settings are shorter.
for file in SECURITY.md docs/guide-conformance.md docs/scenarios.md; do
    # shellcheck disable=SC2016
    while IFS= read -r name; do
        if ! git grep --untracked --quiet "fn $name(" -- '*.rs'; then
            # shellcheck disable=SC2016
            printf '%s: there is no test `%s`\n' "$file" "$name" >&2
            bad=1
        fi
    done < <(grep -o '`[a-z0-9]*_[a-z0-9]*_[a-z0-9]*_[a-z0-9_]*`' "$file" | tr -d '`' | sort -u)
done
# Each alert has its page, and each page its alert.
alerts=$(sed -n 's/^ *- alert: //p' compose/prometheus/alerts.yml | sort)
pages=$(find docs/runbooks -name '*.md' ! -name README.md -printf '%f\n' | sed 's/\.md$//' | sort)
if ! diff <(echo "$alerts") <(echo "$pages") >&2; then
    printf 'compose/prometheus/alerts.yml (<) and docs/runbooks (>) differ\n' >&2
    bad=1
fi
while IFS= read -r name; do
    if ! grep -q "runbook: docs/runbooks/$name.md\$" compose/prometheus/alerts.yml || ! grep -q "alertname=\"$name\"" compose/prometheus/alerts_test.yml; then
        printf 'compose/prometheus: %s names no runbook, or no case of alerts_test.yml makes it fire\n' "$name" >&2
        bad=1
    fi
done <<<"$alerts"
exit "$bad"
