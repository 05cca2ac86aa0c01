#!/usr/bin/env bash
# What YaRN is worth in `make train`'s second phase: three seeds of both phases, and of the second one
# without YaRN, each judged by held-out documents. Prints a table, a line for each model.
#   tools/extension.sh BINARY [SEED ...]
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1; shift
[ $# -gt 0 ] || set -- 1 2 3
runs=runs/extension
mkdir -p "$runs"

# train NAME CONFIG [flags]: into a folder of its own, whatever the clock says.
train() {
  local name=$1 config=$2; shift 2
  echo "== $name" >&2
  "$binary" train -q --config "$config" --overwrite --checkpoint.path "$runs/$name" \
    --metrics.path "$runs/$name.jsonl" --training.max_minutes 0 --eval.data '' "$@"
}
judge() { tools/judge.sh "$binary" "$runs/$1" --json "$runs/$1.json"; }  # NAME
for seed in "$@"; do
  train "short-$seed" configs/default.toml --training.seed "$seed"
  judge "short-$seed"
  for rope in yarn default; do
    train "$rope-$seed" configs/extend.toml --model.from "$runs/short-$seed" \
      --training.seed "$((seed + 100))" --model.rope.type "$rope"
    judge "$rope-$seed"
  done
done
python3 - "$runs" "$@" <<'END'
import json, pathlib, sys
sys.path.insert(0, "tools")
from position_words import mean_loss
runs = pathlib.Path(sys.argv[1])
print(f"{'seed':>4}  {'model':<26}{'128 to 255':>12}{'256 to 2,047':>14}{'difference':>12}")
for seed in sys.argv[2:]:
    for name, what in (("short", "trained at 256"), ("yarn", "extended with YaRN"),
                       ("default", "trained on without YaRN")):
        found = json.loads((runs / f"{name}-{seed}.json").read_text())
        near, far = mean_loss(found, 128, 256), mean_loss(found, 256, 2048)
        print(f"{seed:>4}  {what:<26}{near:>12.4f}{far:>14.4f}{far - near:>+12.4f}")
END
