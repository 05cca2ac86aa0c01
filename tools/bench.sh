#!/usr/bin/env bash
# Runs the benchmarks of a build folder in turn; each compares both of its sides in one run. The one
# against PyTorch takes an hour and has a command of its own, tools/peers.sh.
#   tools/bench.sh build/release
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
found=
run() {  # NAME [ARGUMENT ...]; a build without LibTorch has the planner's alone
  [ -x "$build/benchmarks/$1" ] || return 0
  found=yes
  printf '\n== %s\n' "$1"
  "$build/benchmarks/$@"
}
run bench_planner
run bench_runtime
if [ -f corpus/go.idx ]; then
  # Documents as they are, of uneven lengths.
  uneven="--data.long_documents cut --training.sequences_per_step 4"
  run bench_training configs/default.toml --steps 9 $uneven --data.max_sequence_length 2048
  run bench_dtype configs/default.toml --steps 60 $uneven --data.max_sequence_length 2048
  run bench_reach configs/default.toml --model.preset 25m $uneven --data.max_sequence_length 65536
fi
[ -n "$found" ] || { echo "error: bench: no benchmark in $build/benchmarks; build it first" >&2; exit 2; }
