#!/usr/bin/env bash
# Measures executor, prover and cluster on this machine and prints a table, or with --json one JSON object with the same figures.
#
#   scripts/bench.sh [--json] [--quick]
#
# --quick leaves out the largest segments and the longest job and takes one run of the job instead of three. All figures are of one run of this script: compare
# within it. Stop other work first.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/cluster.sh
. scripts/lib/cluster.sh

json=false sizes=(16 18 20) jobs=(2 8 64) runs=3
for arg in "$@"; do
    case "$arg" in
    --json) json=true ;;
    --quick) sizes=(16 18) jobs=(2 8) runs=1 ;;
    *)
        sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'
        exit 2
        ;;
    esac
done
trap 'fail "A command failed (line $LINENO)."' ERR
trap stop_all EXIT
state=$(mktemp -d)

step "building"
find_tools
build
cargo build --release --locked -q -p zisk-machine --example speed
cargo bench --locked -q -p zisk-prover --bench segments --no-run
cargo bench --locked -q -p zisk-recursion --bench tree --no-run

keys=() values=()
put() {
    keys+=("$1")
    values+=("$2")
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
field() { sed -n "s/.*\"$1\":[[:space:]]*\([0-9.]*\).*/\1/p" | head -n 1; }

step "executor"
hashes_input 10000 "$state/hashes.bin"
put executor_mhz "$(for _ in 1 2 3; do
    "$bin/examples/speed" guests/elf/sha-hasher.elf "$state/hashes.bin" 18 | sed -n 's/.*executor_mhz \([0-9.]*\).*/\1/p'
done | median)"

step "segments of 2^{${sizes[*]}} steps"
for size in "${sizes[@]}"; do
    line=$(cargo bench --locked -q -p zisk-prover --bench segments -- "$size" 2>/dev/null)
    for key in proving_khz wall_s contribution_s cpu_s peak_rss_gib segment_proof_bytes segment_verify_ms; do
        put "$key.2^$size" "$(field "$key" <<<"$line")"
    done
done

step "recursive proofs of {${jobs[*]}} segments of 2^20 steps"
for job in "${jobs[@]}"; do
    line=$(cargo bench --locked -q -p zisk-recursion --bench tree -- "20:$job" 2>/dev/null)
    for key in lift_wall_s lift_cpu_s join_wall_s join_cpu_s build_all_s final_proof_bytes final_verify_ms aggregation_ratio tree_peak_rss_gib; do
        put "$key.$job" "$(field "$key" <<<"$line")"
    done
done

step "one job of 8 segments of 2^18 steps: in one process, and through NATS with one worker"
hashes_input 560 "$state/input.bin"
start_cluster 1
prove() { # prove NAME FLAGS...: seconds of a whole job, as a user sees it
    local name=$1 begin end
    shift
    begin=$(date +%s%N)
    "$bin/zisk" prove "$@" --program guests/elf/sha-hasher.elf --input "$state/input.bin" --segment-log-steps 18 \
        --out "$state/$name.proof" --json >"$state/$name.json" 2>"$state/$name.err"
    end=$(date +%s%N)
    echo "$begin $end" | awk '{ printf "%.2f\n", ($2 - $1) / 1e9 }'
}
# The first job of a program derives its keys; later ones find them. Both ways start warm.
prove warm >/dev/null
for ((i = 0; i < runs; i++)); do
    prove local --local >>"$state/local.times"
    prove cluster >>"$state/cluster.times"
done
put job_local_s "$(median <"$state/local.times")"
put job_cluster_s "$(median <"$state/cluster.times")"
put cluster_overhead_ratio "$(paste "$state/local.times" "$state/cluster.times" | awk '{ printf "%.3f\n", $2 / $1 }' | median)"
put job_segments "$(field segments <"$state/cluster.json")"
put job_steps "$(field steps <"$state/cluster.json")"
put proof_bytes "$(stat -c %s "$state/cluster.proof")"
put verify_ms "$(for _ in 1 2 3; do
    "$bin/zisk" verify "$state/cluster.proof" --program guests/elf/sha-hasher.elf --json | field verify_ms
done | median)"

if $json; then
    printf '{'
    for i in "${!keys[@]}"; do
        [ "$i" -eq 0 ] || printf ', '
        printf '"%s": %s' "${keys[i]}" "${values[i]:-null}"
    done
    printf '}\n'
else
    printf '\n%s, %s cores\n\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)"
    for i in "${!keys[@]}"; do printf '%-28s %s\n' "${keys[i]}" "${values[i]:-?}"; done
fi
