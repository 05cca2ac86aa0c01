"""Runs both sides in turns, each step in a process of its own, and prints one table.

usage: compare.py --source FOLDER --ours BINARY --work FOLDER [--case LAYERS:CAP ...]
                  [--documents 64] [--rounds 3] [--variants ours,single,pipe,compiled]
                  [--prefix 'COMMAND ...'] [--profile FILE] [--report FILE]

Results stay in the work folder, one file a step; a step that is there is not run again, so that an
interrupted comparison goes on, and `--rounds 3` after `--rounds 2` adds one.
--prefix: words before each step's command, such as `nice -n -5` or, on a machine that is shared,
`flock -x FILE`.
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
NAMES = {"ours": "infinipipe, epp", "single": "PyTorch, 2 threads, no pipeline",
         "pipe": "PyTorch 1F1B", "compiled": "PyTorch 1F1B, compiled"}


LOSS_TOLERANCE = 1e-5  # relative, of step 0
DISAGREEMENTS = []


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--source", required=True)
    ap.add_argument("--ours", required=True)
    ap.add_argument("--work", required=True)
    ap.add_argument("--case", nargs="+", default=["4:4096", "2:16384", "2:32768"])
    ap.add_argument("--documents", type=int, default=64)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--variants", default="ours,single,pipe,compiled")
    ap.add_argument("--prefix", default="")
    ap.add_argument("--profile")
    ap.add_argument("--report")
    return ap.parse_args()


def input_path(a, layers, cap):
    return f"{a.work}/input-{layers}-{cap}-{a.documents}.safetensors"


def run_one(a, variant, layers, cap, out):
    if os.path.exists(out):
        return json.load(open(out)) if variant != "export" else None
    environment = dict(os.environ, OMP_NUM_THREADS="2" if variant == "single" else "1",
                       PEERS_COMPILE="1" if variant == "compiled" else "0")
    if variant == "ours":
        environment.pop("LD_PRELOAD", None)  # the engine has an allocator of its own
        command = [a.ours, "--input", input_path(a, layers, cap), "--layers",
                   str(layers), "--out", out]
        if a.profile:
            command += ["--profile", a.profile]
    else:
        script = {"single": "single.py", "export": "export.py"}.get(variant, "pipe.py")
        command = [sys.executable, str(HERE / script), "--source", a.source, "--layers",
                   str(layers), "--cap", str(cap), "--documents", str(a.documents), "--out", out]
    prefix = [] if variant == "export" else shlex.split(a.prefix)
    subprocess.run(prefix + command, env=environment, check=True)
    return json.load(open(out)) if variant != "export" else None


def measure(a, layers, cap):
    """Results by variant, a list with one entry a round."""
    run_one(a, "export", layers, cap, input_path(a, layers, cap))
    results = {v: [] for v in a.variants.split(",")}
    for n in range(a.rounds):
        for variant in results:
            began = time.time()
            out = f"{a.work}/{variant}-{layers}-{cap}-{a.documents}-{n}.json"
            results[variant].append(run_one(a, variant, layers, cap, out))
            r = results[variant][-1]
            print(f"  round {n + 1}, {NAMES[variant]}: {r['steps'][0]['seconds']:.1f} s, loss "
                  f"{r['steps'][0]['loss']:.10f} ({time.time() - began:.0f} s in all)", flush=True)
    return results


def spread(values, digits=1):
    m = statistics.median(values)
    if len(values) == 1:
        return f"{m:.{digits}f}"
    return f"{m:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def table(a, layers, cap, results):
    """Markdown: speeds and losses of all, where our time went."""
    lines = []
    tokens = next(iter(results.values()))[0]["tokens"]
    rows = []  # name, seconds by round, loss
    for variant, rounds in results.items():
        steps = [r["steps"][0] for r in rounds]
        rows.append((NAMES[variant], [s["seconds"] for s in steps], steps[0]["loss"]))
        if variant in ("pipe", "compiled"):
            rows.append((NAMES[variant] + ", replayed, both ranks as the faster",
                         [s["evened_seconds"] for s in steps], None))
    ours = dict((n, s) for n, s, _ in rows).get(NAMES["ours"])
    lines.append(f"**cap {cap:,}, {layers} layers** ({len(next(iter(results.values())))} rounds of "
                 f"{a.documents} documents, {tokens:,} tokens)\n")
    lines.append("| side | step, s: median (range) | tokens/s | ours / it, per round | loss of step 0 |")
    lines.append("|-|-|-|-|-|")
    for name, seconds, loss in rows:
        ratio = spread([t / o for t, o in zip(seconds, ours)], 3) if ours else ""
        lines.append(f"| {name} | {spread(seconds)} | {tokens / statistics.median(seconds):,.0f} | "
                     f"{ratio} | {'' if loss is None else f'{loss:.10f}'} |")
    if ours:
        others = [loss for name, _, loss in rows if loss is not None and name != NAMES["ours"]]
        own = rows[0][2] if rows[0][0] == NAMES["ours"] else None
        if others and own:
            far = max(abs(own / loss - 1) for loss in others)
            lines.append(f"\nLosses agree within {far:.1e} (relative).")
            if far > LOSS_TOLERANCE:
                DISAGREEMENTS.append(f"cap {cap}, {layers} layers: losses are {far:.1e} apart, "
                                     f"expected at most {LOSS_TOLERANCE:.0e}")
        lines.append(parts(results["ours"]))
    return "\n".join(lines)


def parts(rounds):
    """Where our own time went, in seconds a stage, medians; against the floor."""
    kinds = ["matmul", "attention", "elementwise", "head", "other", "idle"]
    lines = ["\n| stage | " + " | ".join(kinds) + " |", "|-" * (len(kinds) + 1) + "|"]
    for p in range(len(rounds[0]["steps"][0]["parts"])):
        cells = [statistics.median(r["steps"][0]["parts"][p][k] for r in rounds) for k in kinds]
        lines.append(f"| {p} | " + " | ".join(f"{c:.2f}" for c in cells) + " |")
    floors = [r["floor"] for r in rounds if "floor" in r]
    if floors:
        middle = lambda k: statistics.median(f[k] for f in floors)
        stages = len(rounds[0]["steps"][0]["parts"])
        ratio = [r["steps"][0]["seconds"] / r["floor"]["seconds"] for r in rounds if "floor" in r]
        lines.append(f"| floor, each | {middle('matmul') / stages:.2f} | "
                     f"{middle('attention') / stages:.2f} | | | | |")
        lines.append(f"\nStep over floor, per round: {spread(ratio, 3)}. Matmuls alone "
                     f"{statistics.median(r['matmul_flops_per_second'] for r in rounds) / 1e9:.0f} "
                     f"GFLOP/s a core.")
    r = rounds[0]
    lines.append(f"Plan: {r['slices']} slices, {r['chunks']} chunks, made in "
                 f"{r['plan_seconds']:.2f} s; bubble measured "
                 f"{statistics.median(x['steps'][0]['bubble'] for x in rounds):.3f}; predicted step "
                 f"{r['predicted_seconds']:.1f} s.")
    return "\n".join(lines)


def main():
    a = arguments()
    os.makedirs(a.work, exist_ok=True)
    report = []
    for case in a.case:
        layers, cap = (int(x) for x in case.split(":"))
        print(f"== {layers} layers, documents cut to {cap} bytes", flush=True)
        report.append(table(a, layers, cap, measure(a, layers, cap)))
        print(report[-1] + "\n", flush=True)
    if a.report:
        pathlib.Path(a.report).write_text("\n\n".join(report) + "\n")
    if DISAGREEMENTS:
        sys.exit("error: peers: " + "; ".join(DISAGREEMENTS))


main()
