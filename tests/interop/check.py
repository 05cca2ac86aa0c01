#!/usr/bin/env python3
"""The program against transformers: the same logits, the same training steps, the same files.

usage: check.py PROGRAM WORK [--family NAME] [--rope NAME]

For every family, kind of RoPE and tied or own head, a tiny random model that transformers saves is
imported, and `eval --logits` held against transformers' logits in float32 and float64; three
training steps over two stages, with slices, against autograd and torch's AdamW; import and export,
in one file and in shards, against the bytes and the meaning of what came in; and what was trained,
exported, against the program's own loss. Prints the largest differences; fails beyond the bounds.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

import dataset
import models

FLOAT32_LOGITS = 2e-5  # relative to the largest logit
FLOAT64_LOGITS = 1e-5  # transformers computes frequencies, cosines, sines and norms in float32
FLOAT64_EXACT = 1e-11  # ... and in float64 where it is made to
LOSS = 1e-6
WEIGHTS = 1e-3  # of a tensor's norm: where a gradient is nearly nothing, AdamW follows its rounding
LENGTHS = [200, 33, 5, 180, 64, 2, 121]


class Check:
    def __init__(self, program, work):
        self.program, self.work, self.failures = program, work, []

    def run(self, *arguments):
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
        return done

    def bound(self, what, found, most):
        if not found <= most:
            self.failures.append(f"{what}: {found:.3g}, over {most:.3g}")
        return found


def documents(vocabulary, seed):
    draw = random.Random(seed)
    return [[draw.randrange(vocabulary) for _ in range(length)] for length in LENGTHS]


def relative(found, expected):
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor([tokens])).logits[0]


def load(source, dtype):
    """Not Module.to(), which rounds the frequencies of RoPE as well."""
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype).eval()


def check_logits(check, name, source, checkpoint, prefix, texts, context):
    """`context`: what dynamic RoPE is made for; transformers takes each document's own length."""
    worst = {}
    for dtype, torch_dtype, most in (("float32", torch.float32, FLOAT32_LOGITS),
                                     ("float64", torch.float64, FLOAT64_LOGITS)):
        file = check.work / f"{name}.{dtype}.logits"
        check.run("eval", "--checkpoint", checkpoint, "--data", prefix, "--logits", file,
                  "--training.dtype", dtype, "--data.max_sequence_length", context)
        with safe_open(file, "pt") as found:
            def compare(what, bound):
                model = load(source, torch_dtype)
                worst[what] = max(relative(found.get_tensor(f"logits.{i}"), logits_of(model, tokens))
                                  for i, tokens in enumerate(texts))
                check.bound(f"{name}: {what} logits", worst[what], bound)
            compare(dtype, most)
            if dtype == "float64":
                with models.without_float32():
                    compare("exact", FLOAT64_EXACT)
    return worst


def reference_steps(model, texts, rates):
    """Losses of whole batches, with AdamW's decay on matrices alone and clipping by norm."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1},
                                   {"params": vectors, "weight_decay": 0.0}],
                                  lr=1.0, betas=(0.9, 0.95), eps=1e-8)
    targets = sum(len(tokens) - 1 for tokens in texts)
    losses = []
    for rate in rates:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        total = 0.0
        for tokens in texts:
            logits = model(torch.tensor([tokens])).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]),
                                                     reduction="sum") / targets
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(total)
    return losses


def check_steps(check, name, source, prefix, texts, context):
    run = check.work / f"{name}.run"
    shutil.rmtree(run, ignore_errors=True)
    check.run("train", "--model.from", source, "--data.path", prefix, "--training.steps", 3,
              "--training.sequences_per_step", len(texts), "--parallelism.stages", 2,
              "--planner.slices", 3, "--optimizer.lr", "1e-3", "--optimizer.warmup_steps", 1,
              "--cluster.profile", "estimate", "--checkpoint.path", run, "--metrics.path",
              run.with_suffix(".jsonl"), "--data.max_sequence_length", context)
    steps = [json.loads(line) for line in open(run.with_suffix(".jsonl"))]
    run.with_suffix(".jsonl").unlink()
    if max(step["chunks"] for step in steps) < 3:
        check.failures.append(f"{name}: the steps were not sliced")
    model = load(source, torch.float32).train()
    expected = reference_steps(model, texts, [step["lr"] for step in steps])
    worst = max(abs(step["loss"] - loss) / loss for step, loss in zip(steps, expected))
    check.bound(f"{name}: losses of three steps", worst, LOSS)
    # What was trained goes back into transformers.
    out = check.work / f"{name}.trained"
    shutil.rmtree(out, ignore_errors=True)
    check.run("export", run, "--out", out, "--dtype", "float32")
    after = load_file(out / "model.safetensors")
    trained = model.state_dict()
    drift = max(float((after[key] - trained[key]).norm() / trained[key].norm()) for key in after)
    check.bound(f"{name}: weights after three steps", drift, WEIGHTS)
    return worst


def same_meaning(source, out):
    """Fields of two configurations as transformers reads them, other than where they were saved."""
    left, right = (AutoConfig.from_pretrained(folder).to_dict() for folder in (source, out))
    ignored = {"_name_or_path", "transformers_version", "head_dim", "attention_bias", "mlp_bias",
               "rope_scaling", "rope_theta", "torch_dtype"}
    # transformers writes yarn's defaults only where they were given.
    defaults = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}
    for each in (left, right):
        rope = each["rope_parameters"]
        each["rope_parameters"] = {key: value for key, value in rope.items()
                                   if defaults.get(key) != value}
    return {key: (left.get(key), right.get(key)) for key in left.keys() | right.keys()
            if key not in ignored and left.get(key) != right.get(key)}


def tensors_of(folder):
    tensors = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        tensors.update(load_file(file))
    return tensors


def check_files(check, name, checkpoint, source, dtype, sharded):
    out = check.work / f"{name}.out"
    shutil.rmtree(out, ignore_errors=True)
    check.run("export", checkpoint, "--out", out, *(["--max-shard-size", 30000] if sharded else []))
    if sharded and not (out / "model.safetensors.index.json").exists():
        check.failures.append(f"{name}: the export is not sharded")
    before, after = tensors_of(source), tensors_of(out)
    if before.keys() != after.keys() or any(
            before[key].dtype != after[key].dtype or not torch.equal(before[key], after[key])
            for key in before):
        check.failures.append(f"{name}: tensors differ after import and export")
    if changed := same_meaning(source, out):
        check.failures.append(f"{name}: config.json differs: {changed}")
    prompt = torch.tensor([[5, 17, 99, 3]])
    texts = []
    for folder in (source, out):
        loaded, report = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype,
                                                              output_loading_info=True)
        if report["missing_keys"] or report["unexpected_keys"]:
            check.failures.append(f"{name}: {folder}: {report}")
        texts.append(loaded.generate(prompt, max_new_tokens=64, do_sample=False, eos_token_id=None,
                                     pad_token_id=0)[0].tolist())
    if texts[0] != texts[1]:
        check.failures.append(f"{name}: the export generates other tokens")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--family", choices=models.FAMILIES)
    parser.add_argument("--rope", choices=models.ROPES)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    check = Check(options.program, options.work)
    worst = {"float32": 0.0, "float64": 0.0, "exact": 0.0, "steps": 0.0}
    count = 0
    for family in models.FAMILIES:
        for rope in models.ROPES:
            for tied in (False, True):
                if options.family not in (None, family) or options.rope not in (None, rope):
                    continue
                if family in models.PLAIN_ROPE and rope != "default":
                    continue
                name = f"{family}.{rope}{'.tied' if tied else ''}"
                count += 1
                # Half of the models come in bfloat16, half in shards.
                sharded, dtype = count % 2 == 0, torch.bfloat16 if count % 4 < 2 else torch.float32
                model = models.make(family, rope, tied, seed=count).to(dtype)
                source, checkpoint = options.work / f"{name}.hf", options.work / f"{name}.ckpt"
                for folder in (source, checkpoint):
                    shutil.rmtree(folder, ignore_errors=True)
                model.save_pretrained(source, **({"max_shard_size": 30000} if sharded else {}))
                check.run("import", source, "--out", checkpoint)
                texts = documents(model.config.vocab_size, count)
                # All documents of one length where the angles hang on it.
                context = models.CONTEXT
                prefix = str(options.work / "documents")
                dataset.write(prefix, texts)
                found = check_logits(check, name, source, checkpoint, prefix, texts, context)
                if rope == "dynamic":  # also beyond what the model is for
                    longer = [[t for text in texts for t in text][:400]]
                    dataset.write(prefix + ".longer", longer)
                    more = check_logits(check, name + ".longer", source, checkpoint,
                                        prefix + ".longer", longer, 400)
                    found = {key: max(found[key], more[key]) for key in found}
                check_files(check, name, checkpoint, source, dtype, not sharded)
                for key, value in found.items():
                    worst[key] = max(worst[key], value)
                steps = check_steps(check, name, source, prefix, texts, context)
                worst["steps"] = max(worst["steps"], steps)
                print(f"{name:28} logits {found['float32']:.1e} float32, {found['float64']:.1e} "
                      f"float64, {found['exact']:.1e} with float64 inside; losses of 3 steps "
                      f"{steps:.1e}", flush=True)
    for failure in check.failures:
        print("FAILED", failure)
    print(f"{count} models; at most {worst['float32']:.2g} (float32) and {worst['float64']:.2g} "
          f"(float64; {worst['exact']:.2g} with float64 inside) between logits, {worst['steps']:.2g} "
          "between losses")
    return 1 if check.failures or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
