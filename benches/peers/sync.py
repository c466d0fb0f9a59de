"""Workloads of benches/sync for CPython's multiprocessing.

Usage: sync.py WORKLOAD. Reads numbers of operations, one a line, and prints nanoseconds for each.
Both sides are on a CPU of their own, as those of the others.
"""

import multiprocessing
import os
import sys
import time

CPUS = sorted(os.sched_getaffinity(0))
context = multiprocessing.get_context("fork")


def pin(index):
    os.sched_setaffinity(0, {CPUS[min(index, len(CPUS) - 1)]})


def partner(work):
    """Starts a process that does `work(rounds)` whenever it is told, and returns the line to it."""
    ours, theirs = context.Pipe()

    def serve():
        pin(1)
        ours.close()
        while True:
            try:
                rounds = theirs.recv()
            except EOFError:
                return
            work(rounds)
            theirs.send(None)

    context.Process(target=serve, daemon=True).start()
    return ours


def beside(line, rounds, ours):
    start = time.perf_counter_ns()
    line.send(rounds)
    ours(rounds)
    line.recv()
    return time.perf_counter_ns() - start


def queue(make, message):
    queue = make()

    def take(rounds):
        for _ in range(rounds):
            queue.get()

    def put(rounds):
        for _ in range(rounds):
            queue.put(message)

    line = partner(take)
    return lambda rounds: beside(line, rounds, put)


def locking(lock):
    def work(rounds):
        for _ in range(rounds):
            lock.acquire()
            lock.release()

    return work


def uncontended():
    work = locking(context.Lock())

    def run(rounds):
        start = time.perf_counter_ns()
        work(rounds)
        return time.perf_counter_ns() - start

    return run


def contended():
    work = locking(context.Lock())
    half = lambda rounds: work((rounds + 1) // 2)
    line = partner(half)
    return lambda rounds: beside(line, rounds, half)


name, _, size = sys.argv[1].partition(":")
message = bytes(int(size)) if size else 7
pin(0)
run = {
    "queue": lambda: queue(lambda: context.Queue(8 if size else 0), message),
    "simple_queue": lambda: queue(context.SimpleQueue, message),
    "lock": uncontended,
    "contended_lock": contended,
}[name]()
for text in sys.stdin:
    print(run(int(text)), flush=True)
