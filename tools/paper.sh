#!/bin/bash
# The paper's evaluation on simulated clusters, into docs/paper (or the second argument).
# usage: paper.sh BUILD [OUT]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: paper.sh BUILD [OUT]}
out=${2:-docs/paper}
"$build/benchmarks/infinipipe_paper" profiles "$out"
