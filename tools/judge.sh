#!/usr/bin/env bash
# The loss of a checkpoint of `make train` by position, on held-out documents in parts of 2,048 bytes: what
# stands at a position is then not what stands at a document's begin.
#   tools/judge.sh BINARY CHECKPOINT [flags of `infinipipe eval`]
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1 checkpoint=$2; shift 2
"$binary" eval -q --checkpoint "$checkpoint" --data corpus/go-held-out --sequences 400 \
  --data.max_sequence_length 2048 "$@"
