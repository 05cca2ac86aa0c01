#!/usr/bin/env bash
# Runs every benchmark of a build folder in turn; each compares both of its sides in one run.
#   tools/bench.sh build/release
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
found=
for program in "$build"/benchmarks/bench_*; do
  [ -x "$program" ] && [ -f "$program" ] || continue
  found=yes
  printf '\n== %s\n' "$(basename "$program")"
  "$program"
done
[ -n "$found" ] || { echo "error: bench: no benchmark in $build/benchmarks; build it first" >&2; exit 2; }
