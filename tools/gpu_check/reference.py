#!/usr/bin/env python3
"""The same model in plain PyTorch, on the same card: a Llama of the preset's sizes with
scaled_dot_product_attention, F.rms_norm, a loss in chunks and AdamW, bfloat16 with float32 masters.
Tokens per second go to the file as one JSON object a line.

usage: reference.py --json FILE [--seconds S] [--device cuda|cpu] [--tiny] [--compile]
"""
import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

SIZES = {  # Llama 3.2 1B, as the preset "1b"
    "vocab": 128256, "hidden": 2048, "middle": 8192, "layers": 16, "heads": 32, "kv_heads": 8,
    "dim": 64, "theta": 5e5}
TINY = {"vocab": 61, "hidden": 64, "middle": 96, "layers": 2, "heads": 2, "kv_heads": 1,
        "dim": 32, "theta": 1e4}


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.first = nn.Parameter(torch.ones(s["hidden"]))
        self.second = nn.Parameter(torch.ones(s["hidden"]))
        wide = (s["heads"] + 2 * s["kv_heads"]) * s["dim"]
        self.qkv = nn.Linear(s["hidden"], wide, bias=False)
        self.out = nn.Linear(s["heads"] * s["dim"], s["hidden"], bias=False)
        self.gate_up = nn.Linear(s["hidden"], 2 * s["middle"], bias=False)
        self.down = nn.Linear(s["middle"], s["hidden"], bias=False)

    def forward(self, x, cos, sin):
        s = self.s
        h = F.rms_norm(x, (s["hidden"],), self.first, 1e-5)
        q, k, v = self.qkv(h).view(*x.shape[:2], -1, s["dim"]).transpose(1, 2).split(
            [s["heads"], s["kv_heads"], s["kv_heads"]], dim=1)

        def rotate(t):
            a, b = t.chunk(2, dim=-1)
            return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)

        o = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True, enable_gqa=True)
        x = x + self.out(o.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(F.rms_norm(x, (s["hidden"],), self.second, 1e-5)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.embedding = nn.Embedding(s["vocab"], s["hidden"])
        self.layers = nn.ModuleList(Layer(s) for _ in range(s["layers"]))
        self.norm = nn.Parameter(torch.ones(s["hidden"]))
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids, again):
        s = self.s
        x = self.embedding(ids)
        frequency = s["theta"] ** (-torch.arange(0, s["dim"], 2, device=ids.device) / s["dim"])
        angle = torch.arange(ids.shape[1], device=ids.device)[:, None] * frequency
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer in self.layers:
            if again:
                x = torch.utils.checkpoint.checkpoint(layer, x, cos, sin, use_reentrant=False)
            else:
                x = layer(x, cos, sin)
        return F.rms_norm(x, (s["hidden"],), self.norm, 1e-5)

    def loss(self, ids, again, block=4096):
        x = self(ids, again)[:, :-1].flatten(0, 1)
        target = ids[:, 1:].flatten()

        def part(rows, wanted):
            return F.cross_entropy((rows @ self.embedding.weight.t()).float(), wanted, reduction="sum")

        total = 0.0
        for i in range(0, len(target), block):
            total = total + torch.utils.checkpoint.checkpoint(
                part, x[i:i + block], target[i:i + block], use_reentrant=False)
        return total / len(target)


class Trainer:
    """bfloat16 weights to compute with, float32 masters to update."""

    def __init__(self, sizes, device, compiled):
        self.device = device
        torch.manual_seed(1)
        with torch.device(device):
            self.model = Model(sizes)
        self.masters = [p.detach().clone().float() for p in self.model.parameters()]
        self.model.to(torch.bfloat16)
        fused = device != "cpu"
        self.optimizer = torch.optim.AdamW(self.masters, lr=1e-4, weight_decay=0.1, fused=fused)
        self.vocab = sizes["vocab"]
        if compiled:
            for layer in self.model.layers:
                layer.compile()

    def fits(self, tokens):
        """Whether a step fits without recomputation; else all layers run again."""
        try:
            self.step(tokens, False)
            return True
        except torch.OutOfMemoryError:
            pass  # what the error holds must go before anything else runs
        for parameter in self.model.parameters():
            parameter.grad = None
        torch.cuda.empty_cache()
        return False

    def step(self, tokens, again):
        ids = torch.randint(self.vocab, (1, tokens), device=self.device)
        loss = self.model.loss(ids, again)
        loss.backward()
        for master, parameter in zip(self.masters, self.model.parameters()):
            master.grad = parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_copy_(list(self.model.parameters()), self.masters)
        return loss.item()  # waits for the device


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", required=True)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    sizes = TINY if arguments.tiny else SIZES
    trainer = Trainer(sizes, arguments.device, arguments.compile)
    how = "compiled" if arguments.compile else "eager"
    with open(arguments.json, "a", encoding="utf-8") as out:
        for tokens in (64, 128) if arguments.tiny else (8192, 32768):
            name = f"{tokens // 1024}K" if tokens >= 1024 else str(tokens)
            line = {"step": "reference", "name": f"{how}.{name}.tokens_per_second",
                    "unit": "tokens/s"}
            try:
                again = not trainer.fits(tokens)
                trainer.step(tokens, again)
                times = []
                while len(times) < 5 and (len(times) < 2 or time.monotonic() < end):
                    begin = time.monotonic()
                    loss = trainer.step(tokens, again)
                    times.append(time.monotonic() - begin)
                line["value"] = tokens / statistics.median(times)
                line["recomputed"] = again
                print(f"  {how} {name}: {line['value']:.0f} tokens/s, loss {loss:.3f}"
                      f"{', all layers recomputed' if again else ''}", flush=True)
            except Exception as error:  # one size less is better than nothing
                line["skipped"] = str(error).splitlines()[0]
                print(f"  {how} {name}: skipped: {line['skipped']}", flush=True)
            out.write(json.dumps(line) + "\n")
            out.flush()
            if time.monotonic() >= end:
                break


if __name__ == "__main__":
    import torch.utils.checkpoint  # noqa: F401  (a submodule that torch does not import itself)
    main()
