"""What both PyTorch variants share: documents, packing, the model, clocks.

The model is ours: Llama with 512 hidden units, 8 query and 4 key heads, SwiGLU of 1408, 256 symbols
(bytes), RMSNorm, rotate-half RoPE, an untied head. Loss: mean over all next-byte targets.
"""
import argparse
import glob
import os
import random
import resource
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

H, NH, NKV, HD, FF, V = 512, 8, 4, 64, 1408, 256
COMPILE = os.environ.get("PEERS_COMPILE", "0") == "1"


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("--source", required=True, help="folder of *.go files")
    ap.add_argument("--layers", type=int, default=2)
    ap.add_argument("--cap", type=int, default=16384, help="bytes of a document that count")
    ap.add_argument("--documents", type=int, default=64)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--steps", type=int, default=1)
    ap.add_argument("--warm", type=int, default=4, help="cheapest micro-batches run beforehand")
    ap.add_argument("--out", required=True, help="result, JSON")
    return ap.parse_args()


# ---- documents --------------------------------------------------------------
def load_documents(a):
    """Files sampled with a fixed seed from all *.go files, cut to cap bytes, as byte tensors."""
    files = sorted(p for p in glob.glob(a.source + "/**/*.go", recursive=True) if os.path.isfile(p))
    docs = []
    for path in random.Random(a.seed).sample(files, a.documents):
        with open(path, "rb") as f:
            docs.append(torch.tensor(list(f.read(a.cap)), dtype=torch.long))
    return [d for d in docs if len(d) > 1]


def first_fit_decreasing(lens, cap):
    packs, room = [], []
    for i in sorted(range(len(lens)), key=lambda i: -lens[i]):
        for p in range(len(packs)):
            if room[p] >= lens[i]:
                packs[p].append(i)
                room[p] -= lens[i]
                break
        else:
            packs.append([i])
            room.append(cap - lens[i])
    return packs


def mountain(packs, lens):
    """Cheap micro-batches at both ends (short fill and drain), dear ones in the middle: the order
    that 1F1B runs fastest in."""
    s = sorted(packs, key=lambda p: sum(lens[i] ** 2 for i in p))
    return s[0::2] + s[1::2][::-1]


class Meta:
    """What a micro-batch's attention needs: segment lengths (and the padding) and RoPE tables."""

    def __init__(self, segments, cap):
        self.segments = list(segments)
        self.pad = cap - sum(segments)
        pos = torch.cat([torch.arange(n) for n in segments] +
                        [torch.zeros(self.pad, dtype=torch.long)])
        inv = 1.0 / (10000.0 ** (torch.arange(0, HD, 2).float() / HD))
        angle = pos.float()[:, None] * inv[None]
        self.cos, self.sin = angle.cos()[None, :, None, :], angle.sin()[None, :, None, :]


# ---- model ------------------------------------------------------------------
def rope(x, c, s):
    a, b = x.chunk(2, -1)
    return torch.cat((a * c - b * s, b * c + a * s), -1)


def before_attention(x, nw, wq, wk, wv, c, s):
    h = F.rms_norm(x, (H,), nw, 1e-5)
    n = x.shape[1]
    q = rope(F.linear(h, wq).view(1, n, NH, HD), c, s)
    k = rope(F.linear(h, wk).view(1, n, NKV, HD), c, s)
    return q, k, F.linear(h, wv).view(1, n, NKV, HD)


def after_attention(x, o, wo, nw, wg, wu, wd):
    x = x + F.linear(o, wo)
    h = F.rms_norm(x, (H,), nw, 1e-5)
    return x + F.linear(F.silu(F.linear(h, wg)) * F.linear(h, wu), wd)


if COMPILE:
    before_attention = torch.compile(before_attention, dynamic=False)
    after_attention = torch.compile(after_attention, dynamic=False)


def attend(q, k, v, meta):
    """Causal attention of each document on its own: cost = sum of squares."""
    sizes = meta.segments + ([meta.pad] if meta.pad else [])
    # split (one backward node that concatenates), not slices (each would zero-fill a full gradient)
    qs, ks, vs = (x.split(sizes, 1) if len(sizes) > 1 else (x,) for x in (q, k, v))
    outs = []
    for j in range(len(meta.segments)):
        o = F.scaled_dot_product_attention(
            qs[j].transpose(1, 2), ks[j].transpose(1, 2), vs[j].transpose(1, 2), is_causal=True,
            enable_gqa=True)
        outs.append(o.transpose(1, 2))
    if meta.pad:
        outs.append(torch.zeros_like(qs[-1]))
    o = outs[0] if len(outs) == 1 else torch.cat(outs, 1)
    return o.reshape(1, q.shape[1], H)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        p = lambda o, i: nn.Parameter(torch.randn(o, i) * 0.02)
        self.n1, self.n2 = nn.Parameter(torch.ones(H)), nn.Parameter(torch.ones(H))
        self.wq, self.wk, self.wv, self.wo = p(H, H), p(NKV * HD, H), p(NKV * HD, H), p(H, H)
        self.wg, self.wu, self.wd = p(FF, H), p(FF, H), p(H, FF)

    def forward(self, x, meta):
        q, k, v = before_attention(x, self.n1, self.wq, self.wk, self.wv, meta.cos, meta.sin)
        return after_attention(x, attend(q, k, v, meta), self.wo, self.n2, self.wg, self.wu,
                               self.wd)


class Stage(nn.Module):
    """Layers [lo, hi) of a model of `layers`, with embedding and head where they belong. The
    micro-batch's number arrives as a keyword tensor `mb`, given to every rank's schedule.step(); it
    indexes `metas`, which both processes know."""

    def __init__(self, lo, hi, layers, seed=1234):
        super().__init__()
        self.metas = None
        self.layers = nn.ModuleList()
        for i in range(lo, hi):
            torch.manual_seed(seed + i)
            self.layers.append(Layer())
        torch.manual_seed(seed + 1000)
        e, h = torch.randn(V, H), torch.randn(V, H) * 0.02
        self.emb = nn.Parameter(e) if lo == 0 else None
        self.head = nn.Parameter(h) if hi == layers else None
        self.nf = nn.Parameter(torch.ones(H)) if hi == layers else None

    def forward(self, x, mb=None, meta=None):
        if meta is None:
            meta = self.metas[int(mb[0])]
        if self.emb is not None:
            x = F.embedding(x, self.emb)
        for layer in self.layers:
            x = layer(x, meta)
        if self.head is not None:
            x = F.linear(F.rms_norm(x, (H,), self.nf, 1e-5), self.head)
        return x


# ---- measurement ------------------------------------------------------------
def cpu_seconds():
    r = resource.getrusage(resource.RUSAGE_SELF)
    return r.ru_utime + r.ru_stime


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def matmul_speed(reps=40):
    """FLOP/s of torch.mm of [512, 512] by [512, 2048] with this process's threads."""
    a, b = torch.randn(512, 512), torch.randn(512, 2048)
    for _ in range(5):
        torch.mm(a, b)
    speeds = []
    for _ in range(5):
        t = time.perf_counter()
        for _ in range(reps):
            torch.mm(a, b)
        speeds.append(reps * 2 * 512 * 512 * 2048 / (time.perf_counter() - t))
    return sorted(speeds)[2]
