#!/usr/bin/env bash
# Fuzzes what reads bytes from a stranger (fuzz/), guided by coverage, with the compiler that builds everything else: no nightly is needed,
# as no address sanitizer is used (but for what libraries do, nothing here is unsafe).
#
#   scripts/fuzz.sh                     all targets, 60 seconds each
#   scripts/fuzz.sh --seconds N TARGET  one target
#
# Starts from fuzz/corpus/TARGET, where what is found to be new is kept, and from the guests' ELFs and proofs made of them. What makes a target
# fail is left in fuzz/artifacts/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'fuzz: %s\n' "$1" >&2; exit 1; }

seconds=60
targets=()
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds) seconds=${2:-}; [[ $seconds =~ ^[1-9][0-9]*$ ]] || fail "--seconds wants a whole number above 0, not \"$seconds\""; shift 2 ;;
    -*) sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
    *)  [ -f "fuzz/fuzz_targets/$1.rs" ] || fail "there is no target $1: expected one of $(cd fuzz/fuzz_targets && echo *.rs | sed 's/\.rs//g')"
        targets+=("$1"); shift ;;
    esac
done
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

# What libFuzzer's own build does: count edges, and see what is compared.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage="$coverage -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# A target of its own, so that build scripts and macros run without it.
host=$(rustc -vV | sed -n 's/^host: //p')
export "CARGO_TARGET_$(printf '%s' "$host" | tr 'a-z-' 'A-Z_')_RUSTFLAGS=$coverage --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1"
(cd fuzz && cargo build --release --target "$host" "${targets[@]/#/--bin=}") || fail "the targets do not build (see above)"

for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    seeds=()
    if [ "$target" = elf ]; then seeds=(guests/elf); fi
    printf '\n== %s, %s s\n' "$target" "$seconds"
    "fuzz/target/$host/release/$target" -max_total_time="$seconds" -rss_limit_mb=4096 -max_len=1048576 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/corpus/$target" "${seeds[@]}" 2>&1 | tail -n 12 || fail "$target failed: see fuzz/artifacts/$target"
done
