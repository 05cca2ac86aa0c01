#!/usr/bin/env bash
# `make train`: trains configs/default.toml at a short context on the default corpus, extends it with
# configs/extend.toml to 8 times that, shows what the context is worth before and after, and exports
# the model as a Hugging Face folder.
#   tools/train-default.sh BINARY [flags of `infinipipe train`, for both phases]
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1; shift
mkdir -p runs/default runs/extend
say() { printf '\n== %s\n' "$*"; }
# Each time anew, unless it is told to go on.
case " $* " in *" --resume "*) fresh= ;; *) fresh=--overwrite ;; esac

say "Phase 1: from nothing, at a context of 256 bytes"
"$binary" train --config configs/default.toml --plan-dir runs/default/plans $fresh "$@"

say "Its loss by position, up to 2,048 bytes"
tools/judge.sh "$binary" runs/default/checkpoints --by-position --json runs/default/before.json

say "Phase 2: the same model, 8 times the context, with YaRN"
"$binary" train --config configs/extend.toml --plan-dir runs/extend/plans $fresh "$@"

say "Loss by position, before and after"
tools/judge.sh "$binary" runs/extend/checkpoints --by-position --json runs/extend/after.json \
  --picture runs/extend/position.html --beside runs/default/before.json
python3 tools/position_words.py 256 2048 runs/default/before.json runs/extend/after.json

say "A sample of what it writes now"
"$binary" generate --checkpoint runs/extend/checkpoints --prompt $'package main\n\nimport (' \
  --tokens 300 --temperature 0.7 --top-p 0.9 --seed 1

printf '\n'
say "Export"
rm -rf runs/extend/model
"$binary" export runs/extend/checkpoints --out runs/extend/model
cat <<'END'
transformers opens it:
  python3 -c 'from transformers import AutoModelForCausalLM as M; print(M.from_pretrained("runs/extend/model"))'

== Written
  runs/extend/position.html        the loss by position before and after, as a picture
  runs/extend/model                the extended model, a Hugging Face folder
  runs/{default,extend}/           checkpoints, metrics.jsonl and the plan of each step
END
