"""torch.distributed.pipelining: 1F1B over two processes (Gloo) with one thread each; documents
packed first-fit-decreasing into micro-batches of one shape, [1, cap], which it asks for.
PEERS_COMPILE=1 compiles all but the attention.

Beside the measured time: the same schedule replayed from each micro-batch's processor time, once as
it was and once with the faster rank's time on both ranks (one rank is at times slower than the other
at equal work, for reasons outside the schedule). The replay has no transfers and no waiting for
other programs, so it flatters."""
import json
import sys
import tempfile

import torch.distributed as dist
import torch.multiprocessing as mp
from common import *


def replay_1f1b(forward, backward):
    """Seconds of 1F1B on two stages; forward[stage][micro-batch]."""
    m = len(forward[0])
    lists = [[("F", i) for i in range(min(2, m))], []]
    for i in range(m):
        lists[0] += [("B", i)] + ([("F", i + 2)] if i + 2 < m else [])
        lists[1] += [("F", i), ("B", i)]
    done, clock, place = {}, [0.0, 0.0], [0, 0]
    while place[0] < len(lists[0]) or place[1] < len(lists[1]):
        for r in (0, 1):
            while place[r] < len(lists[r]):
                op, i = lists[r][place[r]]
                needs = ("F", 0, i) if (op, r) == ("F", 1) else (
                    ("B", 1, i) if (op, r) == ("B", 0) else None)
                if needs and needs not in done:
                    break
                took = (forward if op == "F" else backward)[r][i]
                clock[r] = max(clock[r], done[needs] if needs else 0.0) + took
                done[(op, r, i)] = clock[r]
                place[r] += 1
    return max(clock)


def main(rank, a, init, queue):
    import torch.distributed.pipelining as pp
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=2)
    docs = load_documents(a)
    lens = [len(d) for d in docs]
    targets = sum(lens) - len(lens)
    packs = mountain(first_fit_decreasing(lens, a.cap), lens)
    m = len(packs)
    x = torch.zeros(m, a.cap, dtype=torch.long)
    y = torch.full((m, a.cap), -100, dtype=torch.long)
    metas = []
    for p, ids in enumerate(packs):
        o = 0
        for i in ids:
            x[p, o:o + lens[i]] = docs[i]
            y[p, o:o + lens[i] - 1] = docs[i][1:]
            o += lens[i]
        metas.append(Meta([lens[i] for i in ids], a.cap))
    half = a.layers // 2
    model = Stage(rank * half, rank * half + half, a.layers)
    model.metas = metas
    hidden, tokens = torch.empty(1, a.cap, H), torch.empty(1, a.cap, dtype=torch.long)
    logits = torch.empty(1, a.cap, V)
    stage = pp.PipelineStage(model, rank, 2, torch.device("cpu"),
                             input_args=(hidden if rank else tokens,),
                             output_args=(logits if rank else hidden,))
    spent = {"F": {}, "B": {}}

    def timed(call, kind):
        def wrapped(i, *args, **kwargs):
            cpu = time.thread_time()
            result = call(i, *args, **kwargs)
            spent[kind][int(i)] = time.thread_time() - cpu
            return result
        return wrapped
    stage.forward_one_chunk = timed(stage.forward_one_chunk, "F")
    stage.backward_one_chunk = timed(stage.backward_one_chunk, "B")

    def loss_of(output, target):
        return F.cross_entropy(output[0], target[0], ignore_index=-100, reduction="sum") / targets

    def step(schedule, x, y, index):
        losses = []
        schedule.step(*(() if rank else (x,)), target=y if rank else None,
                      losses=losses if rank else None, return_outputs=False, mb=index)
        return float(sum(v.item() for v in losses))

    def schedule(count):
        return pp.Schedule1F1B(stage, n_microbatches=count, loss_fn=loss_of, scale_grads=False)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    if a.warm:
        cheap = sorted(range(m), key=lambda p: sum(lens[i] ** 2 for i in packs[p]))[:max(2, a.warm)]
        step(schedule(len(cheap)), x[cheap], y[cheap], torch.tensor(cheap))
        optimizer.zero_grad(set_to_none=True)
    dist.barrier()
    speed = matmul_speed()
    whole, steps = schedule(m), []
    for _ in range(a.steps):
        dist.barrier()
        cpu, begin = cpu_seconds(), time.perf_counter()
        loss = step(whole, x, y, torch.arange(m))
        dist.barrier()
        seconds = time.perf_counter() - begin
        steps.append(dict(seconds=seconds, loss=loss, cpu_seconds=cpu_seconds() - cpu,
                          forward=[spent["F"][i] for i in range(m)],
                          backward=[spent["B"][i] for i in range(m)]))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    queue.put(dict(rank=rank, steps=steps, peak=peak_bytes(), speed=speed, tokens=sum(lens),
                   lengths=lens, micro_batches=m, padding=1 - sum(lens) / (m * a.cap)))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    a = arguments()
    context = mp.get_context("spawn")
    queue = context.SimpleQueue()
    init = "file://" + tempfile.mktemp()
    ranks = [context.Process(target=main, args=(r, a, init, queue)) for r in range(2)]
    for p in ranks:
        p.start()
    out = []
    while len(out) < 2:
        if not queue.empty():
            out.append(queue.get())
        elif any(p.exitcode not in (None, 0) for p in ranks):
            for p in ranks:
                p.terminate()
            sys.exit("error: pipe.py: a rank died")
        else:
            time.sleep(0.05)
    for p in ranks:
        p.join()
    first, second = sorted(out, key=lambda r: r["rank"])
    steps = []
    for s, t in zip(first["steps"], second["steps"]):
        forward, backward = [s["forward"], t["forward"]], [s["backward"], t["backward"]]
        even = lambda pair: [[min(v) for v in zip(*pair)]] * 2
        steps.append(dict(seconds=t["seconds"], loss=t["loss"],
                          replayed_seconds=replay_1f1b(forward, backward),
                          evened_seconds=replay_1f1b(even(forward), even(backward)),
                          cpu_seconds=s["cpu_seconds"] + t["cpu_seconds"],
                          busy=[sum(f) + sum(b) for f, b in zip(forward, backward)]))
    json.dump(dict(tokens=first["tokens"], lengths=first["lengths"], steps=steps,
                   micro_batches=first["micro_batches"], padding=first["padding"],
                   peak_bytes=[first["peak"], second["peak"]],
                   matmul_flops_per_second=[first["speed"], second["speed"]]), open(a.out, "w"))
