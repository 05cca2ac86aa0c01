"""The link between two hosts, which are network namespaces of this machine, goes down under a run: for
longer than runtime.lost_after_seconds, so that both sides end, and for shorter, so that it goes on."""
import contextlib
import os
import subprocess
import time

from program import leftovers, require, tensors

LIMIT = 6.0  # runtime.lost_after_seconds
SLACK = 2.0  # how much later than that both may end; held against the clock by `make soak` alone
# TCP sends again 0.2, 0.6, 1.4, 3 and 6.2 s after what was lost, so that this link is in use again
# after 3 s, and one that was down for longer than 3 s after 6.2, which is too late for the limit.
SHORT = 2.0
STEPS, EVERY = 60, 10
HOSTS = ("infini-link-a", "infini-link-b")  # namespaces, interfaces and names of hosts
ADDRESSES = ("10.78.0.1", "10.78.0.2")


def ip(*arguments, **kinds):
    return subprocess.run(["ip", *arguments], **kinds)


@contextlib.contextmanager
def two_hosts():
    for host in HOSTS:
        ip("netns", "del", host, stderr=subprocess.DEVNULL)
    try:
        for host in HOSTS:
            ip("netns", "add", host, check=True)
        ip("link", "add", HOSTS[0], "netns", HOSTS[0], "type", "veth", "peer", "name", HOSTS[1],
           "netns", HOSTS[1], check=True)
        for host, address in zip(HOSTS, ADDRESSES):
            ip("-n", host, "addr", "add", f"{address}/24", "dev", host, check=True)
            ip("-n", host, "link", "set", "lo", "up", check=True)
            ip("-n", host, "link", "set", host, "up", check=True)
        yield
    finally:
        for host in HOSTS:
            ip("netns", "del", host, stderr=subprocess.DEVNULL)


def link(state):
    ip("-n", HOSTS[1], "link", "set", HOSTS[1], state, check=True)


def command(harness, folder, *more):
    return harness.train(folder, STEPS, EVERY, "--runtime.lost_after_seconds", LIMIT, *more)


def start(harness, arguments):
    """A rank on each host, its output in the file rank<k>."""
    children = []
    for rank, host in enumerate(HOSTS):
        environment = {**harness.environment, "RANK": str(rank), "WORLD_SIZE": "2",
                       "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29500"}
        with open(harness.work / f"rank{rank}", "w") as out:
            children.append(subprocess.Popen(
                ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c",
                 f'hostname {host} && exec "$@"', "sh", harness.binary, *map(str, arguments)],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
    return children


def said(harness):
    return [(harness.work / f"rank{rank}").read_text() for rank in range(2)]


def await_checkpoint(harness, folder, children):
    end = time.monotonic() + 120.0
    while not (folder / "latest").exists():
        require(time.monotonic() < end and all(child.poll() is None for child in children),
                f"no checkpoint: {said(harness)}")
        time.sleep(0.01)


def finish(harness, children, begin, limit=120.0):
    """Waits for both. Returns the seconds from `begin` to the end of each."""
    ends = [None, None]
    try:
        while None in ends:
            require(time.monotonic() - begin < limit, f"not over after {limit} s: {said(harness)}")
            for rank, child in enumerate(children):
                if ends[rank] is None and child.poll() is not None:
                    ends[rank] = time.monotonic() - begin
            time.sleep(0.01)
    finally:
        for child in children:
            child.kill()
    for host in HOSTS:
        left = ip("netns", "pids", host, capture_output=True, text=True).stdout.split()
        require(not left, f"processes {left} are left on {host}")
    return ends


def down_for_longer(harness, expected):
    """Returns the seconds until each side ended."""
    folder = harness.folder("checkpoints")
    children = start(harness, command(harness, folder))
    await_checkpoint(harness, folder, children)
    begin = time.monotonic()
    link("down")
    try:
        ends = finish(harness, children, begin)
    finally:
        link("up")
    for rank, text in enumerate(said(harness)):
        other = 1 - rank
        lines = [line for line in text.splitlines() if "error: " in line]
        require(children[rank].returncode == 1 and len(lines) == 1 and
                f"lost rank {other} (stage {other}, host {HOSTS[other]})" in lines[0],
                f"expected exit code 1 and one line that names rank {other}: rank {rank} ended with "
                f"{children[rank].returncode} and {text}")
    require(not harness.full or max(ends) < LIMIT + SLACK, f"ended after {ends} s")
    tensors(folder)  # the checkpoint is whole
    again = start(harness, command(harness, folder, "--resume"))
    finish(harness, again, time.monotonic())
    require([child.returncode for child in again] == [0, 0], f"no resume: {said(harness)}")
    require(tensors(folder) == expected, "other weights than the uninterrupted run after a resume")
    require(not leftovers(folder), f"left {leftovers(folder)}")
    return ends


def down_for_shorter(harness, expected):
    """Returns the seconds from the link's return until the next step was finished."""
    folder = harness.folder("checkpoints")
    metrics = harness.work / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    children = start(harness, command(harness, folder, "--metrics.path", metrics))
    await_checkpoint(harness, folder, children)
    link("down")
    time.sleep(SHORT)
    size = metrics.stat().st_size
    link("up")
    begin = time.monotonic()
    while metrics.stat().st_size == size and any(child.poll() is None for child in children):
        time.sleep(0.01)
    goes_on = time.monotonic() - begin
    finish(harness, children, begin)
    require([child.returncode for child in children] == [0, 0], f"it ended: {said(harness)}")
    require(tensors(folder) == expected, "other weights than the uninterrupted run")
    return goes_on


def link_down(harness):
    if os.geteuid() != 0:
        return "not run: only root can make two hosts"
    runs = 5 if harness.full else 1
    with two_hosts():
        reference = harness.folder("reference")
        harness.succeed(*command(harness, reference))
        expected = tensors(reference)
        ended, waited = [], []
        for run in range(runs):
            harness.progress(f"{run} of {runs}")
            ended.append(down_for_longer(harness, expected))
            waited.append(down_for_shorter(harness, expected))
    both = sorted(max(ends) for ends in ended)
    return (f"{runs} x a link down for longer than {LIMIT:.0f} s: both sides name the other and end after "
            f"{both[len(both) // 2]:.1f} s in the median, {both[-1]:.1f} s at most, and a resume gives the "
            f"uninterrupted run's bytes; {runs} x down for {SHORT:.0f} s: it goes on at most "
            f"{max(waited):.1f} s after the link is back, to the same bytes")
