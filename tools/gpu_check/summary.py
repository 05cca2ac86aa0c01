#!/usr/bin/env python3
"""The table at the end of tools/gpu_check.sh: what each step said, the figures that matter with their
targets, and shares of the card's ceilings. Says what is missing rather than leaving it out.

usage: summary.py OUT STEPS     OUT: the folder with bench.json and metrics.jsonl; STEPS: a file with
                                a line a step, which is printed last
"""
import json
import pathlib
import statistics
import sys


def lines_of(file):
    if not file.exists():
        return []
    found = []
    for line in file.read_text(errors="replace").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            pass  # half a line of a step that was ended
    return found


def steady(lines):
    """Without a run's first step, which plans, measures and grows pools."""
    return lines[1:] if len(lines) > 1 else lines


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


class Table:
    def __init__(self):
        self.rows = []

    def add(self, what, value, shown="{:.3g}", target=None, reached=None):
        self.rows.append((what, "-" if value is None else shown.format(value),
                          target or "", "" if reached is None or value is None
                          else "reached" if reached(value) else "NOT REACHED"))

    def text(self):
        width = max(len(row[0]) for row in self.rows)
        return "\n".join(f"{row[0]:{width}}  {row[1]:>10}  {row[2]:<28} {row[3]}".rstrip()
                         for row in self.rows)


def training(table, metrics, reference, peak):
    for cap in sorted({m["run"] for m in metrics if m["run"].startswith("cap_")},
                      key=lambda run: int(run.split("_")[1])):
        mine = steady([m for m in metrics if m["run"] == cap])
        tokens = int(cap.split("_")[1])
        name = f"{tokens // 1024}K" if tokens >= 1024 else str(tokens)
        rate = median([m["tokens_per_second"] for m in mine])
        table.add(f"train {name}: tokens/s", rate, "{:.0f}")
        at_32k = tokens == 32768
        table.add(f"train {name}: of measured products", median([m["mfu"] for m in mine]), "{:.1%}")
        if peak:
            table.add(f"train {name}: MFU, of the data sheet",
                      median([m["flops_per_second"] / peak for m in mine]), "{:.1%}",
                      ">= 30% with FA2, 40% cuDNN" if at_32k else None,
                      (lambda x: x >= 0.3) if at_32k else None)
        table.add(f"train {name}: step over predicted",
                  median([m["seconds"] / m["seconds_predicted"] for m in mine
                          if m.get("seconds_predicted")]),
                  "{:.3f}", "0.95 to 1.05", lambda x: 0.95 <= x <= 1.05)
        table.add(f"train {name}: peak over predicted",
                  max((p / q for m in mine
                       for p, q in zip(m["peak_bytes"], m["peak_bytes_predicted"])), default=None),
                  "{:.3f}", "0.97 to 1.03", lambda x: 0.97 <= x <= 1.03)
        other = median([r["value"] for r in reference if f".{name}." in r["name"]])
        if other:
            table.add(f"train {name}: over plain PyTorch", rate / other if rate else None, "{:.2f}",
                      ">= 1, aim 1.2", lambda x: x >= 1)
    for m8 in sorted({m["run"] for m in metrics if m["run"].startswith("8b-shape_")}):
        mine = steady([m for m in metrics if m["run"] == m8])
        table.add(f"train {m8}: tokens/s", median([m["tokens_per_second"] for m in mine]), "{:.0f}")
        if peak:
            table.add(f"train {m8}: MFU, of the data sheet",
                      median([m["flops_per_second"] / peak for m in mine]), "{:.1%}", "aim 50%",
                      lambda x: x >= 0.5)
    budget = [m for m in metrics if m["run"].startswith("budget_")]
    if budget:
        limit = float(budget[0]["run"].split("_")[1])
        table.add("train with a budget: peak over it",
                  max(max(m["peak_bytes"]) / limit for m in budget), "{:.3f}", "<= 1",
                  lambda x: x <= 1)


def operations(table, bench):
    value = {f"{b['step']}.{b['name']}": b["value"] for b in bench if b.get("value") is not None}
    copy = value.get("ceilings.copy")
    product = value.get("ceilings.matmul.bfloat16.square")
    for b in bench:
        if b["step"] not in ("ceilings", "operations") or b.get("value") is None:
            continue
        ceiling = {"B/s": copy, "FLOP/s": product}.get(b["unit"])
        scale, unit = {"B/s": (1e9, "GB/s"), "FLOP/s": (1e12, "TFLOP/s")}.get(b["unit"],
                                                                              (1, b["unit"]))
        share = f"{b['value'] / ceiling:.0%} of the ceiling" if ceiling else ""
        table.add(f"{b['name']}", b["value"] / scale, "{:.4g}", f"{unit:8}{share}")


def main(out, steps):
    bench = lines_of(out / "bench.json")
    metrics = lines_of(out / "metrics.jsonl")
    reference = [b for b in bench if b["step"] == "reference" and b.get("value")]
    table = Table()
    operations(table, bench)
    for b in reference:
        table.add(f"reference {b['name']}", b["value"], "{:.0f}")
    peak = [b["value"] for b in bench if b["step"] == "device" and b["name"] == "peak" and "value" in b]
    training(table, metrics, reference, peak[0] if peak else None)
    if table.rows:
        print(table.text())
    for b in bench:
        if b.get("skipped"):
            print(f"{b['step']}.{b['name']}: skipped: {b['skipped']}")
        elif b.get("ok") is False:
            print(f"{b['step']}.{b['name']}: WRONG: "
                  f"{b.get('detail') or '%s > %s' % (b.get('error'), b.get('bound'))}")
    print("\n" + steps.read_text(), end="")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(pathlib.Path, sys.argv[1:]))
