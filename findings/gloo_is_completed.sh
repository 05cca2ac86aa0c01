#!/usr/bin/env bash
# torch.distributed over Gloo (torch 2.11.0): is_completed() of a point-to-point send or receive stays
# False, however long ago the bytes arrived, until somebody calls wait().
#
# So a program cannot poll for the end of a send to reuse or free its buffer, nor for a message that has
# come; it must wait, on a thread of its own where it may not block. Here the receiver has answered that it
# has the tensor, and a second has passed, before is_completed() is asked; likewise for a message that
# the peer's wait() says was sent.
#
# Output seen:
#   torch 2.11.0+cu130
#   isend, taken by the receiver a second ago: is_completed False, after wait() True
#   irecv, sent by the peer a second ago: is_completed False, after wait() True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check torch==2.11.0 numpy
cat > two_ranks.py <<'PY'
import os
import socket
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as processes


def run(rank, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    large, note = torch.zeros(1 << 20), torch.zeros(1)
    if rank == 1:
        dist.recv(large, 0)
        dist.send(note, 0)  # "I have it"
        dist.recv(note, 0)  # "send me one"
        dist.send(note, 0)
        dist.barrier()
        return
    sent = dist.isend(large, 1)
    dist.recv(note, 1)
    time.sleep(1)
    seen = [sent.is_completed()]
    sent.wait()
    seen.append(sent.is_completed())
    received = dist.irecv(note, 1)
    dist.send(note.clone(), 1)
    time.sleep(1)
    seen.append(received.is_completed())
    received.wait()
    seen.append(received.is_completed())
    print(f"isend, taken by the receiver a second ago: is_completed {seen[0]}, after wait() {seen[1]}")
    print(f"irecv, sent by the peer a second ago: is_completed {seen[2]}, after wait() {seen[3]}")
    assert seen == [False, True, False, True], seen
    dist.barrier()


if __name__ == "__main__":
    print("torch", torch.__version__, flush=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes.spawn(run, args=(port,), nprocs=2)
PY
venv/bin/python two_ranks.py
