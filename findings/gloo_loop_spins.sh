#!/usr/bin/env bash
# torch.distributed over Gloo (torch 2.11.0): where processors are busy, Gloo's own thread burns several
# times the processor time that moving the bytes takes.
#
# Its loop only tries the lock of a connection that has something to read, and asks epoll again when the
# lock is taken. Who holds it is the caller of isend or irecv, inside a short write to the socket; where
# the loop's thread, just woken, took the processor from that caller, it turns in circles until the
# scheduler gives the processor back (strace shows some 200 calls of epoll_wait in 4 ms), and the compute
# thread stands still meanwhile. Threads under SCHED_BATCH do not interrupt others when they wake, which
# an unprivileged process may choose for its own, and then most of it is gone. Here two ranks share one
# processor, as ranks that compute on every core do.
#
# Output seen:
#   torch 2.11.0+cu130
#   Gloo's thread as it is: 2.83 ms of processor time for 200 kB each way
#   Gloo's thread under SCHED_BATCH: 0.64 ms of processor time for 200 kB each way
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check torch==2.11.0 numpy
cat > two_ranks.py <<'PY'
import os
import socket
import statistics
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

MESSAGES = 600


def threads():
    return {int(name) for name in os.listdir("/proc/self/task")}


def processor_seconds(thread):
    with open(f"/proc/self/task/{thread}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def compute(seconds):
    end = time.thread_time() + seconds
    a = torch.ones(64, 64)
    while time.thread_time() < end:
        a @ a


def run(rank, port, batch, results):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    before = threads()
    dist.init_process_group("gloo", rank=rank, world_size=2)
    new = threads() - before
    there, here = torch.zeros(50_000), torch.zeros(50_000)

    def exchange():
        coming = dist.irecv(here, 1 - rank)
        going = dist.isend(there, 1 - rank)
        compute(0.003)
        coming.wait()
        going.wait()

    for _ in range(20):
        exchange()
    loop = max(new, key=processor_seconds)
    if batch:
        for thread in new:
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
    begin = processor_seconds(loop)
    for _ in range(MESSAGES):
        exchange()
    results[rank] = (processor_seconds(loop) - begin) / MESSAGES
    dist.barrier()


def both(batch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    results = processes.Manager().dict()
    processes.spawn(run, (port, batch, results), nprocs=2)
    return max(results.values())


if __name__ == "__main__":
    print("torch", torch.__version__, flush=True)
    seen = {}
    for batch in (False, True):
        seen[batch] = statistics.median(both(batch) for _ in range(3))
        print(f"Gloo's thread {'under SCHED_BATCH' if batch else 'as it is'}: "
              f"{1e3 * seen[batch]:.2f} ms of processor time for 200 kB each way", flush=True)
    assert seen[False] > 2 * seen[True], seen
PY
venv/bin/python two_ranks.py
