#!/usr/bin/env bash
# `make train`: trains configs/default.toml on the default corpus, then prints a sample of text.
#   tools/train-default.sh BINARY [flags of `infinipipe train`]
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1; shift
mkdir -p runs/default
# Each time anew, unless it is told to go on.
case " $* " in *" --resume "*) fresh= ;; *) fresh=--overwrite ;; esac
"$binary" train --config configs/default.toml --plan-dir runs/default/plans $fresh "$@"
printf '\n== A sample of what it writes now\n'
"$binary" generate --checkpoint runs/default/checkpoints --prompt $'package main\n\nimport (' \
  --tokens 300 --temperature 0.7 --top-p 0.9 --seed 1
printf '\n\n== Written: runs/default/checkpoints, runs/default/metrics.jsonl, runs/default/plans\n'
