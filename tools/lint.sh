#!/usr/bin/env bash
# Format check of every source file, then clang-tidy with the compile commands of a build folder.
#   tools/lint.sh build/release [FILES...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1; shift
if [ $# -gt 0 ]; then files=("$@"); else mapfile -t files < <(git ls-files 'src/*.cpp'); fi
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs clang-format --dry-run --Werror
# g++'s precompiled headers and flags that clang does not know
database=$(mktemp -d); trap 'rm -rf "$database"' EXIT
sed -E 's/ -Winvalid-pch| -include [^ ]*cmake_pch\.hxx| -Wno-(restrict|stringop-overflow)//g' \
  "$build/compile_commands.json" > "$database/compile_commands.json"
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 clang-tidy -p "$database" --quiet
