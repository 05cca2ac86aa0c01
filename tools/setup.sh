#!/usr/bin/env bash
# Installs what building and testing need: Debian packages, and the pinned LibTorch and HiGHS wheels
# into .deps/ of this checkout. Runs again in a second when everything is there.
#   tools/setup.sh            everything for the CPU build, the tests and the default corpus
#   tools/setup.sh plan-only  without LibTorch and the corpus
#   tools/setup.sh lint       adds clang-format and clang-tidy
#   tools/setup.sh cuda       adds the wheels that the CUDA build links (the toolkit must be there)
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}

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
if [ "$what" != plan-only ]; then
  packages+=(libsentencepiece-dev sentencepiece libbenchmark-dev)
fi
[ "$what" = lint ] && packages+=(clang-format clang-tidy)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
corpus_missing=
if [ "$what" != plan-only ] && [ ! -d /usr/share/go-1.19/src ]; then corpus_missing=yes; fi

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
mkdir -p .deps
if [ ! -x .deps/venv/bin/python ]; then
  say "Python environment .deps/venv"
  python3=/usr/bin/python3
  [ -x "$python3" ] || python3=python3
  rm -rf .deps/venv
  "$python3" -m venv .deps/venv
fi
wheels=(highsbox==1.15.1)
if [ "$what" != plan-only ]; then
  wheels+=(torch==2.11.0 nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96)
fi
[ "$what" = cuda ] && wheels+=(nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5
                              nvidia-cufile==1.15.1.6 nvidia-cudnn-cu13==9.19.0.56 nvidia-nccl-cu13==2.28.9)
stamp=.deps/wheels.txt
touch "$stamp"
for wheel in "${wheels[@]}"; do
  if ! grep -qxF "$wheel" "$stamp"; then
    say "wheel $wheel"
    slow .deps/venv/bin/python -m pip install -q --no-deps --disable-pip-version-check --progress-bar off \
      --no-cache-dir "$wheel"
    echo "$wheel" >> "$stamp"
  fi
done

site=$(.deps/venv/bin/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
ln -sfn "$site" .deps/site
say "set-up is complete"
