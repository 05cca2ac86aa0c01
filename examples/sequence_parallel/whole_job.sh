#!/usr/bin/env bash
# A whole job on 8 ranks, 2 stages x 2 shards x 2 replicas, with a small model on this machine's processor:
# data, profile, one plan to look at, training, a checkpoint, resuming at other layouts, eval, export.
#   examples/sequence_parallel/whole_job.sh PROGRAM WORK_FOLDER [processes|threads]
# `processes` (the default) is `infinipipe launch -n 8 -- train ...` and measures the machine; `threads` has all
# ranks in one process and plans for an estimated machine, which takes seconds. The same losses come out.
set -euo pipefail
program=$(realpath "$1")
work=$2
way=${3:-processes}
steps=4  # in each of three parts
rm -rf "$work"
mkdir -p "$work/texts"
cd "$work"
export XDG_CACHE_HOME="$PWD/cache"
say() { printf '\n== %s\n' "$*"; }

# run PROCESSES COMMAND...: the command by that many processes, or by one with as many threads.
run() {
  local processes=$1; shift
  if [ "$way" = processes ]; then
    "$program" launch -n "$processes" -- "$@"
  else
    "$program" "$@"
  fi
}
layout() {  # STAGES SHARDS REPLICAS
  echo --parallelism.stages "$1" --parallelism.sequence_parallel "$2" --parallelism.data_parallel "$3"
}

say "Data: 40 texts of 1 to 100 lines"
for i in $(seq 1 40); do
  for line in $(seq 1 $((i * i / 16 + 1))); do echo "document $i says in line $line: $((i * line % 97))"; done \
    > "texts/$i.txt"
done
"$program" data build --input texts --out data --hold-out 4

model="--model.num_hidden_layers 4 --model.hidden_size 64 --model.intermediate_size 176
       --model.num_attention_heads 4 --model.num_key_value_heads 2"
job="--data.path data $model --data.max_sequence_length 4096 --data.long_documents cut
     --training.sequences_per_step 8 --checkpoint.path checkpoints --metrics.path metrics.jsonl
     --optimizer.decay_steps $((3 * steps))"
profile=estimate
if [ "$way" = processes ]; then
  say "Profile: the ranks' own machine, all 8 at work"
  profile=$PWD/profile.json
  run 8 profile $job $(layout 2 2 2) --seconds 20 --out "$profile"
fi
say "Train: 2 stages x 2 shards x 2 replicas"
run 8 train $job $(layout 2 2 2) --training.steps $steps --cluster.profile "$profile" --plan-dir plans \
  --planner.degree auto
"$program" validate plans/step-000000.json
# A profile is of one layout; these are short enough to be planned for an estimated machine.
job="$job --resume --cluster.profile estimate"
say "Go on: 4 stages x 1 shard x 2 replicas"
run 8 train $job $(layout 4 1 2) --training.steps $((2 * steps))
say "Go on: 1 stage x 4 shards x 1 replica"
run 4 train $job $(layout 1 4 1) --training.steps $((3 * steps))

say "Judge and take away"
run 4 eval --checkpoint checkpoints --data data-held-out --parallelism.sequence_parallel 4 --json eval.json
"$program" export checkpoints --out model
ls model

say "Losses, by step"
python3 - <<'PYTHON'
import json
steps = [json.loads(line) for line in open("metrics.jsonl")]
for step in steps:
    print(step["step"], round(step["loss"], 6))
assert [step["step"] for step in steps] == list(range(12)), "a step is missing"
assert steps[-1]["loss"] < steps[0]["loss"] - 0.5, "it did not learn"
PYTHON
