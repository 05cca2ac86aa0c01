#!/usr/bin/env bash
# Runs a command, then says on one line how long it took: "== build 3:12". Its exit status is the
# command's.
#   tools/timed.sh NAME COMMAND [ARGUMENT ...]
set -uo pipefail
name=$1; shift
SECONDS=0
"$@"
status=$?
taken=$(printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)))
if [ "$status" = 0 ]; then
  printf '\033[1m== %s %s\033[0m\n' "$name" "$taken"
else
  printf '\033[1m== %s failed after %s\033[0m\n' "$name" "$taken"
fi
exit "$status"
