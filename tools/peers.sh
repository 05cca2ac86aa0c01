#!/usr/bin/env bash
# Side by side with PyTorch's own pipelining: the same model, weights, documents and step, both sides
# in turns, one table at the end. Installs what the other side needs, in an environment of its own:
# PyTorch with all its dependencies and NumPy into .deps/peers (2.5 GB), the allocator tcmalloc
# (Debian's libtcmalloc-minimal4: with glibc's malloc PyTorch takes half as long again), and uses the
# default corpus (golang-1.19-src).
#   tools/peers.sh BUILD [flags of benchmarks/peers/compare.py]
#   tools/peers.sh build/release --documents 8 --rounds 1 --case 2:4096     a quick look
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1; shift
python=.deps/peers/bin/python
say() { printf '\033[1m== %s\033[0m\n' "$*"; }

if ! "$python" -c 'import torch, numpy' 2>/dev/null; then
  torch=$(grep -o '^torch==[^ ]*' tools/wheels/torch.txt)  # what our side links
  say "Python environment .deps/peers: $torch, numpy"
  rm -rf .deps/peers
  python3=/usr/bin/python3; [ -x "$python3" ] || python3=python3
  "$python3" -m venv .deps/peers
  "$python" -m pip install -q --disable-pip-version-check --progress-bar off --no-cache-dir \
    "$torch" numpy
fi
if ! ldconfig -p | grep -q libtcmalloc_minimal.so.4; then
  say "Debian package libtcmalloc-minimal4"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get install -y -qq --no-install-recommends libtcmalloc-minimal4 >/dev/null
fi
{ read -r folder; read -r pattern; } < <(tools/corpus.sh)
if [ "$pattern" != '*.go' ]; then
  echo "error: peers: the comparison's documents are Go sources, found $folder; install golang-1.19-src" >&2
  exit 2
fi

tcmalloc=$(ldconfig -p | awk '/libtcmalloc_minimal.so.4 /{print $NF; exit}')
say "Both sides in turns; a full round (64 documents, three cases) takes an hour on two cores"
LD_PRELOAD=$tcmalloc TCMALLOC_RELEASE_RATE=0 "$python" benchmarks/peers/compare.py \
  --source "$folder" --ours "$build/benchmarks/bench_peers" --work runs/peers \
  --report runs/peers/report.md "$@"
say "Written: runs/peers"
