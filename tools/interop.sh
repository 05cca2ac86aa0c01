#!/usr/bin/env bash
# The program against Hugging Face's libraries: ids of tokenizer.json (tests/interop/
# tokenizers_check.py); conversations by chat templates (chat_check.py); models in and out, logits, training steps, for every family and kind of RoPE
# (tests/interop/check.py). Installs the other side (tools/interop_environment.sh).
#   tools/interop.sh PROGRAM [flags of tests/interop/check.py]
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "$1"); shift
python=.deps/interop/bin/python
tools/interop_environment.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" tests/interop/tokenizers_check.py "$program" "$work/tokenizers"
HF_HUB_OFFLINE=1 "$python" tests/interop/chat_check.py "$program" "$work/chat"
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error \
  "$python" tests/interop/check.py "$program" "$work" "$@"
