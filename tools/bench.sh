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
[ ! -f corpus/go.idx ] || run bench_training configs/default.toml --steps 9
[ -n "$found" ] || { echo "error: bench: no benchmark in $build/benchmarks; build it first" >&2; exit 2; }
