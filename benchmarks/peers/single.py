"""PyTorch without a pipeline: one process, two intra-op threads, document by document, no padding."""
import json

from common import *

a = arguments()
torch.set_num_threads(2)
docs = load_documents(a)
lens = [len(d) for d in docs]
targets = sum(lens) - len(lens)
model = Stage(0, a.layers, a.layers)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
metas = [Meta([n], n) for n in lens]


def one(i):
    d = docs[i]
    y = model(d[None], meta=metas[i])
    loss = F.cross_entropy(y[0, :-1], d[1:], reduction="sum") / targets
    loss.backward()
    return loss.item()


for i in sorted(range(len(docs)), key=lambda i: lens[i])[len(docs) // 2:][:a.warm]:
    one(i)
optimizer.zero_grad(set_to_none=True)
speed = matmul_speed()
steps = []
for _ in range(a.steps):
    cpu, begin = cpu_seconds(), time.perf_counter()
    loss = sum(one(i) for i in range(len(docs)))
    seconds = time.perf_counter() - begin
    steps.append(dict(seconds=seconds, loss=loss, cpu_seconds=cpu_seconds() - cpu))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
json.dump(dict(tokens=sum(lens), lengths=lens, steps=steps, peak_bytes=[peak_bytes()],
               matmul_flops_per_second=[speed]), open(a.out, "w"))
