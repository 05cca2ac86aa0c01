#!/usr/bin/env python3
"""Says in words what a longer context is worth: `eval --json` of a model before and after extension.

usage: position_words.py CONTEXT LONGER BEFORE.json AFTER.json
       CONTEXT: what the model was trained at, LONGER: what it was extended to, both powers of two
"""
import json
import sys


def mean_loss(evaluation, begin, end):
    """The mean over the targets at positions [begin, end); None where there is none."""
    parts = [each for each in evaluation["by_position"] if begin <= each["begin"] and each["end"] <= end]
    targets = sum(each["targets"] for each in parts)
    return sum(each["loss"] * each["targets"] for each in parts) / targets if targets else None


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    context, longer = int(sys.argv[1]), int(sys.argv[2])
    for name, path in (("before", sys.argv[3]), ("after", sys.argv[4])):
        with open(path, encoding="utf-8") as file:
            evaluation = json.load(file)
        near, far = mean_loss(evaluation, context // 2, context), mean_loss(evaluation, context, longer)
        if near is None or far is None:
            sys.exit(f"error: {path}: no document has more than {context} tokens")
        difference = far - near
        verdict = ("the further text helps" if difference < -0.005 else
                   "the further text neither helps nor harms" if difference <= 0.02 else
                   f"beyond {context:,} it guesses worse by {difference:.2f} nats")
        print(f"{name:>6}: positions {context // 2:,} to {context - 1:,}: {near:.3f} nats, "
              f"{context:,} to {longer - 1:,}: {far:.3f}: {verdict}")


if __name__ == "__main__":
    main()
