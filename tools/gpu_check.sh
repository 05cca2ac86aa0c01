#!/usr/bin/env bash
# One call on a machine with a GPU that tests and measures all of the GPU path (docs/gpu.md):
#   bash tools/gpu_check.sh BUNDLE SECONDS [--only STEP,...] [--dry]
#   BUNDLE   the folder of `make gpu-bundle`; the machine's python3 has the LibTorch of its build
#   SECONDS  what there is; a step that no longer fits is skipped, and said
#   --only   these steps alone (preflight comes always)
#   --dry    every step's plumbing on the processor with tiny models
# At most eight files go to $OUT (default: build/gpu-check/): summary.txt, log.txt, bench.json (an object a
# line), profile.json, residuals.html, metrics.jsonl, trace.json.gz, sanitizer.txt. A failing step
# stops no other, but for preflight. Exit code 1 where a step was wrong. PYTHON names another Python.
set -uo pipefail

# name, seconds that it gets at most
steps="ceilings:20 attention:35 kernels:50 model:40 meter:20 operations:60 profile:60 train:125 reference:40"

usage() { sed -n '2,4p' "$0" | cut -c3- >&2; exit 2; }

if [ -z "${GPU_CHECK_STEP:-}" ]; then
  [ $# -ge 2 ] || usage
  bundle=$(cd "$1" 2>/dev/null && pwd) || { echo "error: gpu_check: no folder $1; make gpu-bundle" >&2; exit 2; }
  seconds=$2; shift 2
  case $seconds in ''|*[!0-9]*) usage ;; esac
  only= dry=
  while [ $# -gt 0 ]; do
    case $1 in
      --only) [ $# -ge 2 ] || usage; only=$2; shift 2 ;;
      --dry) dry=yes; shift ;;
      *) usage ;;
    esac
  done
  for name in ${only//,/ }; do
    case " preflight $steps " in *" $name "* | *" $name:"*) ;; *)
      echo "error: gpu_check: --only: no step $name; there are: preflight $(sed 's/:[0-9]*//g' <<<"$steps")" >&2
      exit 2 ;;
    esac
  done
  out=${OUT:-build/gpu-check}
  mkdir -p "$out"; out=$(cd "$out" && pwd)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  export bundle out work dry
  export python=${PYTHON:-python3}
fi
log=$out/log.txt
if [ -n "$dry" ]; then device=cpu; else device=cuda; fi

# --- the steps: each a function; exit code 0 ok, 77 skipped, else wrong --------------------------

gpu_check() { "$bundle/gpu_check" "$@" --device "$device" --json "$out/bench.json" --seconds "$allowed"; }

# A part that the step leaves out: said, and in the summary.
skipped() {  # NAME WHY
  echo "  $1 skipped: $2"
  printf '{"step": "%s", "name": "%s", "skipped": "%s"}\n' "$GPU_CHECK_STEP" "$1" "$2" >>"$out/bench.json"
}

step_ceilings() { gpu_check ceilings; }
step_attention() { gpu_check attention; }
step_model() { gpu_check model; }
step_meter() { gpu_check meter; }
step_operations() { gpu_check operations; }

step_kernels() {
  local status=0 sanitizer tool
  gpu_check kernels || status=1
  sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)
  if [ -n "$dry" ] || [ -z "$sanitizer" ]; then
    skipped compute-sanitizer "$([ -n "$dry" ] && echo needs a GPU || echo not on this machine)"
    return $status
  fi
  for tool in memcheck racecheck; do
    echo "== $tool" >>"$out/sanitizer.txt"
    timeout $((allowed / 3)) "$sanitizer" --tool $tool --error-exitcode 9 "$bundle/gpu_check" kernels --small \
      --device cuda >>"$out/sanitizer.txt" 2>&1
    case $? in
      0) echo "  compute-sanitizer $tool: ok" ;;
      124) skipped "compute-sanitizer.$tool" "out of time" ;;
      *)
        echo "  compute-sanitizer $tool: WRONG: sanitizer.txt"; status=1
        printf '{"step": "kernels", "name": "%s", "ok": false, "detail": "sanitizer.txt"}\n' $tool >>"$out/bench.json" ;;
    esac
  done
  return $status
}

# What profile and train run.
model() {  # PRESET [flag ...]
  if [ -n "$dry" ]; then
    echo --model.vocab_size 257 --model.hidden_size 64 --model.intermediate_size 96 --model.num_hidden_layers 4 \
      --model.num_attention_heads 2 --model.num_key_value_heads 1
  else
    echo --model.preset "$@"
  fi
  echo --training.dtype bfloat16 --runtime.device $device \
    --runtime.threads_per_stage "$([ -n "$dry" ] && echo 1 || echo 16)"
}

step_profile() {
  "$bundle/infinipipe" profile $(model 1b) --data.max_sequence_length "$([ -n "$dry" ] && echo 512 || echo 131072)" \
    --seconds "$([ -n "$dry" ] && echo 1 || echo 30)" --out "$out/profile.json" --html "$out/residuals.html"
}

# Rates of a card like this one, where nothing was measured.
estimate() {
  if [ -n "$dry" ]; then echo estimate; elif [[ "$(nvidia-smi -L)" = *H200* ]]; then echo estimate:h200
  else echo estimate:h100; fi
}

# One run. Its name in the metrics says what it was; the first step is not counted in the summary.
train() {  # NAME MODEL PROFILE CAP STEPS MINUTES [flag ...]
  local name=$1 model=$2 profile=$3 cap=$4 count=$5 minutes=$6; shift 6
  local metrics=$work/$name.jsonl status=0
  "$bundle/infinipipe" train $model --data.path "$work/data" --data.max_sequence_length "$cap" \
    --data.long_documents cut --training.tokens_per_step "$tokens" --training.steps "$count" \
    --training.max_minutes "$minutes" --cluster.profile "$profile" --metrics.path "$metrics" \
    --metrics.run_name "$name" --checkpoint.path "" --optimizer.lr 1e-4 "$@" || status=1
  [ ! -e "$metrics" ] || cat "$metrics" >>"$out/metrics.jsonl"
  return $status
}

step_train() {
  local status=0 caps cap budget count tokens trace small profile=$out/profile.json
  if [ -n "$dry" ]; then caps="64 128"; budget=2e8; count=2; tokens=512
  else caps="8192 32768 131072"; budget=40e9; count=12; tokens=131072; fi
  "$bundle/infinipipe" data lengths --model github --count 400 --cap "${caps##* }" --out "$work/lengths.txt" &&
    "$python" "$bundle/documents.py" "$work/lengths.txt" "$work/documents.jsonl" &&
    "$bundle/infinipipe" data build --input "$work/documents.jsonl" --out "$work/data" || return 1
  if [ ! -e "$profile" ]; then
    profile=$(estimate)
    echo "  no profile.json: plans are made for $profile"
  fi
  small=$(model 1b)
  for cap in $caps; do
    train "cap_$cap" "$small" "$profile" "$cap" $count 0.25 --trace-dir "$work/traces-$cap" || status=1
  done
  set -- $caps
  train "budget_$(printf %.0f $budget)" "$small" "$profile" "$2" 3 0.2 --memory.bytes_per_stage $budget || status=1
  # Layers of 8b, as many as fit; its profile would take as long as that of 1b.
  train "8b-shape_$2" "$(model 8b --model.num_hidden_layers 6)" "$(estimate)" "$2" 8 0.2 || status=1
  trace=$(ls "$work/traces-$2"/* 2>/dev/null | tail -1)
  [ -z "$trace" ] || gzip -c "$trace" >"$out/trace.json.gz"
  # Nothing of ours runs several stages of one GPU in turn yet.
  skipped exclusive "not built"
  return $status
}

step_reference() {
  local size= status=0
  [ -z "$dry" ] || size=--tiny
  "$python" "$bundle/reference.py" --json "$out/bench.json" --device "$device" --seconds "$((allowed / 3))" $size
  status=$?
  [ $status != 77 ] || skipped pytorch "$python cannot import torch"
  [ $status = 0 ] || return $status
  [ -z "$dry" ] || return 0
  timeout $((allowed / 2)) "$python" "$bundle/reference.py" --json "$out/bench.json" --seconds "$((allowed / 3))" --compile
  status=$?
  [ $status != 124 ] || { skipped compiled "out of time"; status=0; }
  return $status
}

step_preflight() {
  local card=
  if [ -n "$dry" ]; then
    echo "  a dry run on the processor"
  elif ! nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,clocks.mem,power.limit --format=csv,noheader; then
    echo "  WRONG: nvidia-smi finds no GPU"; return 1
  else
    card=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
  fi
  if [ -z "$torch" ]; then echo "  WRONG: $python has no torch, whose libraries the programs need"; return 1; fi
  local program missing has needs
  for program in infinipipe gpu_check; do
    missing=$(ldd "$bundle/$program" | grep 'not found' | tr -s '\t\n' ' ')
    if [ -n "$missing" ]; then echo "  WRONG: $program: $missing"; return 1; fi
  done
  has=$("$python" -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null)
  needs=$("$bundle/gpu_check" --torch) || return 1
  echo "  torch $has in $torch; the programs are for $needs"
  case $has in "$needs" | "$needs"+*) ;; *) echo "  WRONG: another version"; return 1 ;; esac
  "$bundle/infinipipe" --version && gpu_check device --card "$card"
}

# --- one step: this script again, under its own timeout --------------------------------------------

if [ -n "${GPU_CHECK_STEP:-}" ]; then
  "step_$GPU_CHECK_STEP"
  exit
fi

# Where this Python's torch has its libraries, found without importing it.
torch=$("$python" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' 2>/dev/null)
export torch
if [ -n "$torch" ]; then
  libraries=$torch/lib
  for folder in "$(dirname "$torch")"/nvidia/*/lib; do [ ! -d "$folder" ] || libraries+=:$folder; done
  export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

: >"$log"; : >"$out/bench.json"; : >"$work/steps.txt"
rm -f "$out"/{summary.txt,metrics.jsonl,trace.json.gz,sanitizer.txt,residuals.html}
[ -n "$only" ] || rm -f "$out/profile.json"
wrong=

run_step() {  # NAME SECONDS
  local name=$1 most=$2 left begin status result
  left=$((seconds - SECONDS - 6))  # the summary has the rest
  # A dry run measures nothing, and a busy machine must not fail it.
  [ -z "$dry" ] || most=$left
  if [ $left -lt $((most / 3)) ] || [ $left -lt 2 ]; then
    printf '%-12s skipped  no time left\n' "$name" | tee -a "$work/steps.txt"
    return 0
  fi
  [ $left -ge $most ] || most=$left
  begin=$SECONDS
  echo "== $name" >>"$log"
  # The step itself stops beginning anew a little before it would be ended.
  GPU_CHECK_STEP=$name allowed=$((most - most / 10)) timeout -k 5 "$most" bash "$0" >>"$log" 2>&1
  status=$?
  case $status in
    0) result=ok ;;
    77) result=skipped ;;
    124 | 137) result="WRONG    out of its $most s;" wrong=yes ;;
    *) result=WRONG wrong=yes ;;
  esac
  printf '%-12s %-8s %d s\n' "$name" "$result" $((SECONDS - begin)) | tee -a "$work/steps.txt"
  return $status
}

SECONDS=0
clocks() { [ -n "$dry" ] || nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv,noheader 2>/dev/null; }
echo "clocks before: $(clocks)" >>"$log"
if run_step preflight 40; then
  for step in $steps; do
    name=${step%:*}
    [ -z "$only" ] || case ",$only," in *",$name,"*) ;; *) continue ;; esac
    run_step "$name" "${step#*:}" || true
  done
else
  wrong=yes
  echo "preflight failed, so nothing else ran; its words:"
fi
echo "clocks after: $(clocks)" >>"$log"
{
  [ -n "$dry" ] || grep '^clocks' "$log"
  awk '/^clocks after/ { exit } /^== / { inside = $2 == "preflight"; next } inside' "$log"
  "$python" "$bundle/summary.py" "$out" "$work/steps.txt"
} 2>&1 | tee "$out/summary.txt"
[ -z "$wrong" ]
