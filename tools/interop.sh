#!/usr/bin/env bash
# The program against Hugging Face's libraries: ids of tokenizer.json (tests/interop/
# tokenizers_check.py); conversations by chat templates (chat_check.py); models in and out, logits, training steps, for every family and kind of RoPE
# (tests/interop/check.py). Installs the other side into
# .deps/interop: PyTorch with all its dependencies (2.5 GB) and transformers.
#   tools/interop.sh PROGRAM [flags of tests/interop/check.py]
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "$1"); shift
python=.deps/interop/bin/python
transformers=transformers==5.24.0
if ! "$python" -c "import torch, safetensors, importlib.metadata as m
assert 'transformers==' + m.version('transformers') == '$transformers'" 2>/dev/null; then
  torch=$(grep -o '^torch==[^ ]*' tools/wheels/torch.txt)  # what our side links
  printf '\033[1m== Python environment .deps/interop: %s, %s\033[0m\n' "$torch" "$transformers"
  rm -rf .deps/interop
  python3=/usr/bin/python3; [ -x "$python3" ] || python3=python3
  "$python3" -m venv .deps/interop
  "$python" -m pip install -q --disable-pip-version-check --progress-bar off --no-cache-dir \
    "$torch" "$transformers" safetensors numpy
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" tests/interop/tokenizers_check.py "$program" "$work/tokenizers"
HF_HUB_OFFLINE=1 "$python" tests/interop/chat_check.py "$program" "$work/chat"
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error \
  "$python" tests/interop/check.py "$program" "$work" "$@"
