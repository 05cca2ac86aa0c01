#!/usr/bin/env bash
# The Python environment .deps/interop: PyTorch with all its dependencies (2.5 GB) and transformers, the other
# side of what is compared. What is there stays.
#   tools/interop_environment.sh [PACKAGE==VERSION ...]   these packages, too
set -euo pipefail
cd "$(dirname "$0")/.."
python=.deps/interop/bin/python
transformers=transformers==5.24.0
has() {  # PACKAGE==VERSION
  "$python" -c "import importlib.metadata as m; assert m.version('${1%%==*}') == '${1##*==}'" 2>/dev/null
}
install() {
  "$python" -m pip install -q --disable-pip-version-check --progress-bar off --no-cache-dir "$@"
}

if ! has "$transformers" || ! "$python" -c 'import torch, safetensors' 2>/dev/null; then
  torch=$(grep -o '^torch==[^ ]*' tools/wheels/torch.txt)  # what our side links
  printf '\033[1m== Python environment .deps/interop: %s, %s\033[0m\n' "$torch" "$transformers"
  rm -rf .deps/interop
  python3=/usr/bin/python3; [ -x "$python3" ] || python3=python3
  "$python3" -m venv .deps/interop
  install "$torch" "$transformers" safetensors numpy
fi
for package in "$@"; do
  has "$package" || install "$package"
done
