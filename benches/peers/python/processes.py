"""What the kernel tells of processes. The same as benches/support/procfs.rs."""

import os
import threading
import time


def status(folder, key):
    with open(f"{folder}/status") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1])


def descendants():
    """Pids of all processes that this one has started, and they."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(status(f"/proc/{name}", "PPid:"), []).append(int(name))
            except OSError:
                pass
    found, pending = [], [os.getpid()]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def private_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Private_"))


def counters(pids):
    """Switches and nanoseconds of each thread, but not of the calling one."""
    found = {}
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            if int(thread) == threading.get_native_id():
                continue
            folder = f"/proc/{pid}/task/{thread}"
            try:
                with open(f"{folder}/schedstat") as file:
                    nanos = int(file.read().split()[0])
                kinds = ("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")
                found[folder] = (sum(status(folder, kind) for kind in kinds), nanos)
            except OSError:
                pass
    return found


def idleness(seconds):
    """Switches and milliseconds on a CPU of this process and what it has started."""
    pids = [os.getpid(), *descendants()]
    before = counters(pids)
    time.sleep(seconds)
    after = counters(pids)
    switches = sum(now[0] - before.get(thread, (0, 0))[0] for thread, now in after.items())
    nanos = sum(now[1] - before.get(thread, (0, 0))[1] for thread, now in after.items())
    return switches, nanos / 1e6
