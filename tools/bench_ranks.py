#!/usr/bin/env python3
"""Stages as threads of one process against stages as processes, with direct copies and over Gloo: the same
training in turn, tokens per second of the median step. Losses must be the same to the bit. With a profile that processes measured
(`infinipipe launch -n 2 -- profile`) also how far its predictions are off, for the default model.

    tools/bench_ranks.py PROGRAM [--rounds N] [--steps N] [--profile FILE]
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

MODEL = ["--parallelism.stages", "2", "--data.path", "corpus/go", "--data.long_documents", "cut",
         "--cluster.profile", "estimate", "--checkpoint.path", "", "--checkpoint.every", "0",
         "--training.max_minutes", "0"]
CASES = {
    "the default model, messages of up to 1 MiB": [
        "--training.sequences_per_step", "4", "--data.max_sequence_length", "2048"],
    "messages of 16 MiB": [
        "--training.sequences_per_step", "4", "--data.max_sequence_length", "4096", "--model.hidden_size", "1024",
        "--model.intermediate_size", "2816", "--model.num_attention_heads", "8",
        "--model.num_key_value_heads", "8", "--model.num_hidden_layers", "2", "--planner.slices", "1",
        "--planner.chunk_tokens", "4096"],
}
LAUNCH = ["launch", "-n", "2", "--"]
WAYS = {"threads": ([], []), "processes": (LAUNCH, []),
        "processes, over Gloo": (LAUNCH, ["--runtime.direct_copies", "false"])}
SKIPPED = 2  # steps, while memory and plans settle


def train(program, folder, launcher, flags, steps):
    metrics = folder / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    subprocess.run([program, *launcher, "train", "-q", "--config", "configs/default.toml", *MODEL, *flags,
                    "--training.steps", str(steps), "--metrics.path", str(metrics)], check=True)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    speeds = [line["tokens_per_second"] for line in lines[SKIPPED:]]
    off = [abs(line["seconds_predicted"] / line["seconds"] - 1.0) for line in lines[SKIPPED:]]
    return statistics.median(speeds), statistics.median(off), [line["loss"] for line in lines]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("program")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--steps", type=int, default=12)
    options.add_argument("--profile", help="cluster.profile of the runs, instead of an estimate")
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for case, flags in CASES.items():
            measured = options.profile and case == next(iter(CASES))  # it is of the default model
            if measured:
                flags = [*flags, "--cluster.profile", options.profile]
            speeds = {name: [] for name in WAYS}
            off = []
            for _ in range(options.rounds):
                losses = {}
                for name, (launcher, way) in WAYS.items():
                    speed, far, losses[name] = train(options.program, folder, launcher, [*flags, *way],
                                                     options.steps)
                    speeds[name].append(speed)
                    if name == "processes":
                        off.append(far)
                if any(each != losses["threads"] for each in losses.values()):
                    raise SystemExit(f"error: {case}: other losses: {losses}")
            print(f"{case}, {options.rounds} rounds:")
            for name, each in speeds.items():
                ratios = [one / two for one, two in zip(each, speeds["threads"])]
                print(f"  {name}: {statistics.median(each):,.0f} tokens/s, to threads "
                      f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
                      + (f", predicted within {statistics.median(off):.1%} (median)"
                         if measured and name == "processes" else ""), flush=True)


if __name__ == "__main__":
    main()
