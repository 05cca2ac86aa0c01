#!/usr/bin/env bash
# The default corpus: Debian's Go sources (package golang-1.19-src), else the header files of the
# LibTorch wheel that set-up brought.
#   tools/corpus.sh           prints its folder and the pattern for `infinipipe data build`
#   tools/corpus.sh BINARY    builds corpus/go.{bin,idx} with that binary unless they are there, and of every
#                             50th document corpus/go-held-out, to judge by
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -d /usr/share/go-1.19/src ]; then
  folder=/usr/share/go-1.19/src pattern='*.go'
elif [ -d .deps/site/torch/include ]; then
  folder=.deps/site/torch/include pattern='*.h'
else
  echo "error: corpus: no text was found, expected /usr/share/go-1.19/src or" \
       ".deps/site/torch/include; run tools/setup.sh" >&2
  exit 2
fi

if [ $# -eq 0 ]; then
  printf '%s\n%s\n' "$folder" "$pattern"
elif [ ! -e corpus/go.idx ] || [ ! -e corpus/go-held-out.idx ]; then
  "$1" data build --input "$folder" --pattern "$pattern" --hold-out 50 --out corpus/go
fi
