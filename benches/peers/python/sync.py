"""The rows of queues, pipes, locks and processes for `multiprocessing`.

Both sides are on a CPU of their own, as those of the others.
"""

import multiprocessing
import os
import time

from trial import latencies, paced

CPUS = sorted(os.sched_getaffinity(0))
context = multiprocessing.get_context("fork")


def pin(index):
    os.sched_setaffinity(0, {CPUS[min(index, len(CPUS) - 1)]})


class Partner:
    """A process that does `work(rounds)` whenever it is told. On the second CPU if it is pinned."""

    def __init__(self, work, pinned=True):
        self.line, theirs = context.Pipe()
        context.Process(target=self.serve, args=(theirs, work, pinned), daemon=True).start()

    def serve(self, theirs, work, pinned):
        self.line.close()
        if pinned:
            pin(1)
        while True:
            try:
                rounds = theirs.recv()
            except EOFError:
                return
            work(rounds)
            theirs.send(None)

    def go(self, rounds):
        self.line.send(rounds)

    def wait(self):
        self.line.recv()


def beside(partner, rounds, ours):
    """Seconds that both take."""
    start = time.perf_counter()
    partner.go(rounds)
    ours(rounds)
    partner.wait()
    return time.perf_counter() - start


def taking(queue):
    def take(rounds):
        for _ in range(rounds):
            queue.get()

    return take


def putting(queue, message):
    def put(rounds):
        for _ in range(rounds):
            queue.put(message)

    return put


def one_way(queue, message):
    """Seconds of a message."""
    partner = Partner(taking(queue))
    pin(0)
    put = putting(queue, message)
    return paced(lambda rounds: beside(partner, rounds, put))


def short(trial, make):
    trial.emit("Queue<u64>, one by one", "M/s", 1e-6 / one_way(make(), 7))
    batch = list(range(256))  # it has none: a list is one message
    rate = len(batch) * 1e-6 / one_way(make(), batch)
    trial.emit("Queue<u64>, in batches", "M/s", rate)


def two_by_two(trial, make):
    queue = make()
    works = [putting(queue, bytes(64))] * 2 + [taking(queue)] * 2
    partners = [Partner(work, pinned=False) for work in works]

    def run(rounds):
        start = time.perf_counter()
        for partner in partners:
            partner.go((rounds + 1) // 2)
        for partner in partners:
            partner.wait()
        return time.perf_counter() - start

    trial.emit("2 producers, 2 consumers, 64 B", "ns/message", paced(run) * 1e9)


def long(trial, make):
    size = 1 << 20
    rate = size / one_way(make(8), bytes(size)) / 1e9
    trial.emit("Queue of 1 MiB messages", "GB/s", rate)


def sweep(trial, make):
    for power in range(3, 25, 3):
        size = 1 << power
        nanos = one_way(make(8), bytes(size)) / size * 1e9
        trial.emit("Queue of messages, by size", "ns/B", nanos, parameter=("bytes", size))


def rally(trial, workload, answer, play):
    rounds = trial.size(20_000, 2_000)
    partner = Partner(answer)
    pin(0)
    partner.go(rounds + 1)  # one more warms up
    samples = latencies(rounds, 0, play)
    partner.wait()
    trial.emit_latencies(workload, "us", samples)


def queue_ping_pong(trial, make):
    there, back = make(), make()

    def answer(rounds):
        for _ in range(rounds):
            back.put(there.get())

    def play():
        there.put(7)
        back.get()

    rally(trial, "ping-pong by two queues, 8 B", answer, play)


def pipe_ping_pong(trial, make):
    ours, theirs = make()

    def answer(rounds):
        for _ in range(rounds):
            theirs.send_bytes(theirs.recv_bytes())

    def play():
        ours.send_bytes(b"12345678")
        ours.recv_bytes()

    rally(trial, "Pipe ping-pong, 8 B", answer, play)


def lock(trial, make):
    lock = make()

    def work(rounds):
        for _ in range(rounds):
            lock.acquire()
            lock.release()

    def alone(rounds):
        start = time.perf_counter()
        work(rounds)
        return time.perf_counter() - start

    half = lambda rounds: work((rounds + 1) // 2)
    partner = Partner(half)
    pin(0)
    trial.emit("Lock, uncontended", "ns", paced(alone) * 1e9)
    trial.emit("Lock, 2 processes", "ns", paced(lambda rounds: beside(partner, rounds, half)) * 1e9)


def start_and_join(trial, method):
    start = multiprocessing.get_context(method).Process
    rounds = trial.size(*{"fork": (100, 30), "forkserver": (50, 12), "spawn": (20, 6)}[method])

    def call():
        process = start(target=abs, args=(7,))
        process.start()
        process.join()

    def measure(*workloads):
        millis = [micros / 1e3 for micros in latencies(rounds, 0, call)]
        for workload in workloads:
            trial.emit_latencies(workload, "ms", millis)

    by = [] if method == "forkserver" else [f"start and join, by {method}"]
    measure("start and join", *by)
    gib = trial.size(8, 1)
    held = b"\1" * (gib << 30)
    measure(f"start and join, parent holds {gib} GiB")
    del held


CONTESTANTS = {
    "multiprocessing.Queue": context.Queue,
    "multiprocessing.SimpleQueue": lambda room=0: context.SimpleQueue(),
    "multiprocessing.Pipe": context.Pipe,
    "multiprocessing.Lock": context.Lock,
    "multiprocessing fork": "fork",
    "multiprocessing forkserver": "forkserver",
    "multiprocessing spawn": "spawn",
}

QUEUES = ["multiprocessing.Queue", "multiprocessing.SimpleQueue"]

ROWS = [
    ("B6", QUEUES, short),
    ("B7", QUEUES, two_by_two),
    ("B8", QUEUES, long),
    ("B9", QUEUES, queue_ping_pong),
    ("B9", ["multiprocessing.Pipe"], pipe_ping_pong),
    ("B10", ["multiprocessing.Lock"], lock),
    ("B11", ["multiprocessing fork", "multiprocessing forkserver", "multiprocessing spawn"], start_and_join),
    ("B20", QUEUES, sweep),
]


def missing():
    """Why each contestant that is not here is not."""
    try:
        context.Lock()
    except (ImportError, OSError) as error:  # no semaphores
        return {name: f"{type(error).__name__}: {error}" for name in CONTESTANTS}
    return {}
