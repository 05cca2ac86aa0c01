#!/usr/bin/env bash
# Installs what building and testing need: Debian packages, and into .deps/ of this checkout the wheels
# that tools/wheels/*.txt pin: LibTorch, HiGHS, tokenizers, DuckDB. Runs again in a second when everything is there.
#   tools/setup.sh            everything for the CPU build, the tests and the default corpus
#   tools/setup.sh plan-only  without LibTorch and the corpus
#   tools/setup.sh lint       adds clang-format and clang-tidy
#   tools/setup.sh cuda       adds the wheels that the CUDA build links and is checked with (the toolkit must be there)
#   tools/setup.sh sbom       as plan-only, and what `make sbom` runs, in an environment of its own
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
torch=yes
case $what in plan-only | sbom) torch= ;; esac

say() { printf '\033[1m== %s\033[0m\n' "$*"; }

# Runs a command that may take minutes and says so every ten seconds.
slow() {
  local seconds=0 child
  "$@" & child=$!
  while kill -0 "$child" 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    if [ $((seconds % 10)) = 0 ]; then printf '   ... %d s\n' "$seconds" >&2; fi
  done
  wait "$child"
}

# --- Debian packages -----------------------------------------------------------------------------
packages=(build-essential cmake ninja-build ccache git python3 python3-venv
          nlohmann-json3-dev libtomlplusplus-dev libcli11-dev libxxhash-dev zlib1g-dev libzstd-dev
          libgtest-dev libgmock-dev)
if [ -n "$torch" ]; then
  packages+=(libsentencepiece-dev sentencepiece)
fi
[ "$what" = lint ] && packages+=(clang-format clang-tidy)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
corpus_missing=
if [ -n "$torch" ] && [ ! -d /usr/share/go-1.19/src ]; then corpus_missing=yes; fi

if [ ${#missing[@]} -gt 0 ] || [ -n "$corpus_missing" ]; then
  sudo=
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
      echo "error: set-up: packages are missing (${missing[*]}) and neither root nor sudo is at hand;" \
           "install them and run again" >&2
      exit 2
    }
    sudo=sudo
  fi
  export DEBIAN_FRONTEND=noninteractive
  say "Debian packages: ${missing[*]} ${corpus_missing:+golang-1.19-src}"
  slow $sudo apt-get update -qq
  if [ ${#missing[@]} -gt 0 ]; then
    slow $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}" >/dev/null
  fi
  if [ -n "$corpus_missing" ]; then  # the corpus is welcome, not needed: tools/corpus.sh has another
    slow $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      golang-1.19-src >/dev/null || say "golang-1.19-src cannot be had; another corpus will be used"
  fi
fi

# --- wheels --------------------------------------------------------------------------------------
make_environment() {  # FOLDER
  [ -x "$1/bin/python" ] && return
  say "Python environment $1"
  local python3=/usr/bin/python3
  [ -x "$python3" ] || python3=python3
  rm -rf "$1"
  "$python3" -m venv "$1"
}

# Only files whose sha256 is pinned are installed; what came from other pins is replaced.
pip_install() {  # ENVIRONMENT PIN ...
  local environment=$1; shift
  "$environment/bin/python" -m pip install -q --require-hashes --only-binary :all: --no-deps \
    --force-reinstall --disable-pip-version-check --progress-bar off --no-cache-dir \
    -r <(printf '%s\n' "$@") 2>"$environment/pip.log"
}

# Installs those pins of a file that the stamp, a copy of what is installed, does not have.
install_wheels() {  # NAME ENVIRONMENT STAMP
  local file=tools/wheels/$1.txt environment=$2 stamp=$3 pin wheel arrived pins=()
  touch "$stamp"
  while read -r pin; do
    grep -qxF -- "$pin" "$stamp" || pins+=("$pin")
  done < <(sed -e '/^ *\(#\|$\)/d' -e ':join; /\\$/{N; s/ *\\\n */ /; b join}' "$file")
  [ ${#pins[@]} -gt 0 ] || return 0
  say "wheels of $file: ${pins[*]%% *}"
  for pin in "${pins[@]}"; do sed -i "/^${pin%%==*}==/d" "$stamp"; done
  if ! slow pip_install "$environment" "${pins[@]}"; then
    wheel=$(sed -nE 's/^ +([^ ]+==[^ ]+) .*:$/\1/p' "$environment/pip.log" | head -n 1)
    arrived=$(sed -nE 's/^ +Got +([0-9a-f]{64})$/\1/p' "$environment/pip.log" | head -n 1)
    if [ -n "$arrived" ]; then
      echo "error: set-up: the wheel $wheel came with sha256 $arrived, which $file does not list;" \
           "nothing was installed" >&2
    else
      echo "error: set-up: the wheels of $file cannot be installed:" \
           "$(sed -n 's/^ERROR: //; T; s/\. .*//; p' "$environment/pip.log" | tail -n 1)" >&2
    fi
    exit 2
  fi
  printf '%s\n' "${pins[@]}" >> "$stamp"
}

mkdir -p .deps
make_environment .deps/venv
install_wheels planning .deps/venv .deps/wheels.txt
[ -z "$torch" ] || install_wheels torch .deps/venv .deps/wheels.txt
install_wheels tokenizers .deps/venv .deps/wheels.txt
install_wheels parquet .deps/venv .deps/wheels.txt
if [ "$what" = cuda ]; then
  install_wheels cuda .deps/venv .deps/wheels.txt
  install_wheels gate .deps/venv .deps/wheels.txt
fi
if [ "$what" = sbom ]; then
  make_environment .deps/sbom
  install_wheels sbom .deps/sbom .deps/sbom/wheels.txt
fi

site=$(.deps/venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
ln -sfn "$site" .deps/site
say "set-up is complete"
