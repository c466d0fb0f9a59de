"""The rows of pools, each written once for all libraries. Workloads have the names that ours have."""

import multiprocessing
import os
import queue
import signal
import statistics
import tempfile
import threading
import time

from processes import descendants, idleness, private_kib, status
from trial import latencies, steady

WORKERS = 2
ALL = ["multiprocessing", "concurrent.futures", "loky", "mpire", "pebble"]
WITH_FUTURES = ["concurrent.futures", "loky", "pebble"]


def square(n):
    return n * n


def wait(millis):
    time.sleep(millis / 1e3)


def most_items(trial, library):
    return trial.size(library.most_items, library.most_items // 10)


def default_chunks(trial, library):
    pool = library(WORKERS)
    items = min(10**6, most_items(trial, library))
    seconds = steady(lambda: pool.map(square, range(items)))
    trial.emit("map(x * x), default chunks", "ns/item", seconds / items * 1e9, items=items)
    pool.close()


def one_by_one(trial, library):
    pool = library(WORKERS)
    items = trial.size(10**4, 2_000)
    seconds = steady(lambda: pool.map(square, range(items), chunksize=1))
    trial.emit("map(x * x), chunksize 1", "us/item", seconds / items * 1e6, items=items)
    pool.close()


def unordered(trial, library):
    pool = library(WORKERS)
    items = trial.size(10**4, 2_000)
    seconds = steady(lambda: sum(pool.unordered(square, range(items))))
    trial.emit("imap_unordered(x * x)", "us/item", seconds / items * 1e6, items=items)
    pool.close()


def round_trip(trial, library):
    pool = library(WORKERS)
    call = lambda: pool.apply(square, 7)
    rounds = trial.size(2_200, 550)
    trial.emit_latencies("apply, warm", "us", latencies(rounds, 0, call))
    trial.emit_latencies("apply, 1 ms apart", "us", latencies(rounds, 1e-3, call))
    pool.close()


def futures(trial, library):
    pool = library(WORKERS)
    items = trial.size(10**4, 2_000)
    micros = micros_per_future(pool, items)
    trial.emit("submit, as_completed", "us/future", micros, items=items)
    pool.close()


def micros_per_future(pool, items):
    """Where there are futures, `unordered` submits all and goes over `as_completed`."""
    return steady(lambda: sum(pool.unordered(square, range(items)))) / items * 1e6


def first_result(trial, library):
    def millis(workers):
        start = time.perf_counter()
        pool = library(workers)
        assert pool.apply(square, 7) == 49
        spent = time.perf_counter() - start
        pool.close()
        return spent * 1e3

    trial.emit("first pool of a program, first result", "ms", millis(WORKERS))
    later = [millis(WORKERS) for _ in range(trial.size(10, 3))]
    trial.emit("later pool, first result", "ms", statistics.median(later))
    for workers in trial.size((1, 2, 4, 16, 64, 256), (1, 2, 4, 16)):
        parameter = ("workers", workers)
        trial.emit("pool of n workers, first result", "ms", millis(workers), parameter=parameter)


def arguments(trial, library):
    pool = library(WORKERS)
    count, size = trial.size(50, 20), 8 << 20
    for what, item in (("text", "x" * size), ("bytes", bytes(size))):
        pool.map(len, [item] * WORKERS, chunksize=1)
        start = time.perf_counter()
        assert pool.map(len, [item] * count, chunksize=1) == [size] * count
        rate = count * size / (time.perf_counter() - start) / 1e9
        trial.emit(f"50 arguments of 8 MiB, {what}", "GB/s", rate, items=count)
    pool.close()


shared = None  # an array, which forks have


def chunk(n):
    return len(memoryview(shared)[n * (8 << 20) : (n + 1) * (8 << 20)])


def shared_array(trial, library):
    global shared
    count, size = 50, 8 << 20
    shared = multiprocessing.RawArray("B", count * size)
    pool = library(WORKERS)
    call = lambda: pool.map(chunk, range(count), chunksize=1)
    assert call() == [size] * count
    rate = count * size / steady(call) / 1e9
    trial.emit("50 arguments of 8 MiB, shared array", "GB/s", rate, items=count)
    pool.close()


def straggler(trial, library):
    long, short = trial.size((10_000, 10), (1_000, 1))
    pool = library(4)
    pool.map(wait, [0] * 4, chunksize=1)
    start = time.perf_counter()
    pool.map(wait, [long] + [short] * 1_000)
    seconds = time.perf_counter() - start
    trial.emit(f"1 x {long} ms, 1000 x {short} ms, 4 workers", "s", seconds)
    pool.close()


def wake_ups(trial, library):
    pool = library(64)
    pool.map(square, range(1_000), chunksize=1)
    time.sleep(0.2)
    seconds = trial.size(60, 2)
    switches, millis = idleness(seconds)
    trial.emit(f"64 idle workers, {seconds} s, context switches", "switches", switches)
    trial.emit(f"64 idle workers, {seconds} s, CPU time", "ms", millis)
    pool.close()


def memory(trial, library):
    pool = library(WORKERS)
    pool.map(square, range(1_000), chunksize=1)
    each = [private_kib(pid) for pid in descendants()]
    trial.emit("private memory of an idle worker", "KiB", statistics.median(each))
    pool.close()


def sweep(trial, library):
    pool = library(WORKERS)
    items = 10**3
    while items <= most_items(trial, library):
        nanos = steady(lambda: pool.map(square, range(items))) / items * 1e9
        parameter = ("items", items)
        trial.emit("map(x * x), default chunks", "ns/item", nanos, items=items, parameter=parameter)
        items *= 10
    if trial.contestant in WITH_FUTURES:
        for items in trial.size((10**2, 10**3, 10**4, 10**5), (10**2, 10**3)):
            micros = micros_per_future(pool, items)
            parameter = ("futures", items)
            trial.emit(
                "submit, as_completed", "us/future", micros, items=items, parameter=parameter
            )
    pool.close()


def deaths(trial, library):
    """A worker is killed every 20 ms. No library here runs again what a dead one had in hand."""
    pool = library(WORKERS)
    items = 1_000
    pool.map(wait, [0] * WORKERS, chunksize=1)
    arrivals, over = queue.Queue(), threading.Event()

    def consume():
        try:
            for value in pool.outcomes(wait_and_return, range(items)):
                arrivals.put(value)
        except Exception as error:
            arrivals.put(error)
        arrivals.put(over)

    def kill():
        while not over.wait(0.02):
            try:
                living = [pid for pid in pool.pids() if pid in descendants()]
                os.kill(living[0], signal.SIGKILL)
            except (IndexError, OSError, ValueError):
                pass  # it is just being replaced

    for work in (consume, kill):
        threading.Thread(target=work, daemon=True).start()
    values, more = set(), {}
    try:
        while (value := arrivals.get(timeout=3)) is not over:
            if isinstance(value, int):
                values.add(value)
    except queue.Empty:
        more = dict(failed=f"hangs, with {len(values)} values")
    over.set()
    lost = None if more else items - len(values)
    trial.emit("a kill every 20 ms, items lost", "items", lost, items=items, **more)
    for pid in descendants():
        with open(f"/proc/{pid}/cmdline") as file:
            if "resource_tracker" not in file.read():  # it removes what is left in /dev/shm
                os.kill(pid, signal.SIGKILL)
    os._exit(0)  # what is left of the pool may wait for ever


def wait_and_return(n):
    time.sleep(1e-3)
    return n


def limits(trial, library):
    """From the end of a task's time to its outcome. Each task says when it begins."""
    items, limit = trial.size(100, 40), 0.05
    pool = library(WORKERS)
    pool.map(wait, [0] * WORKERS, chunksize=1)
    ends = {}
    with tempfile.TemporaryDirectory() as folder:
        futures = [pool.within(limit, endless, f"{folder}/{n}") for n in range(items)]
        for n, future in enumerate(futures):
            future.add_done_callback(lambda _, n=n: ends.setdefault(n, time.monotonic_ns()))
        for future in futures:
            assert isinstance(future.exception(), TimeoutError)
        pool.close()
        late = []
        for n, end in ends.items():
            with open(f"{folder}/{n}") as file:
                late.append((end - int(file.read())) / 1e6 - limit * 1e3)
    trial.emit_latencies("endless tasks, outcome after the limit of 50 ms", "ms", late)


def endless(path):
    with open(path, "w") as file:
        file.write(str(time.monotonic_ns()))
    while True:
        pass


def slow_consumer(trial, library):
    """Memory of this process. The consumer is slower than the pool."""
    items = trial.size(10**5, 5 * 10**3)
    pool = library(WORKERS)
    pool.map(wait, [0] * WORKERS, chunksize=1)
    resident = lambda: status("/proc/self", "VmRSS:") / 1024
    series, start, before = [], time.perf_counter(), resident()
    for n, _ in enumerate(pool.ordered(len, (bytes(1024) for _ in range(items)))):
        if n % (items // 100) == 0:
            series.append((time.perf_counter() - start, resident() - before))
        spin(1e-4)
    sizes = [mib for _, mib in series]
    what = f"imap of {items} x 1 KiB, slow consumer"
    trial.emit(f"{what}: memory", "MiB", max(sizes), series=series)
    growth = statistics.median(sizes[66:]) - statistics.median(sizes[33:66])
    trial.emit(f"{what}: growth from second to last third", "MiB", growth)
    pool.close()


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


ROWS = [
    ("B1", ALL, default_chunks),
    ("B2", ALL, one_by_one),
    ("B3", ALL, unordered),
    ("B4", ALL, round_trip),
    ("B5", WITH_FUTURES, futures),
    ("B12", ["multiprocessing forkserver", *ALL], first_result),
    ("B13", ALL, arguments),
    ("B13", ["multiprocessing RawArray"], shared_array),
    ("B14", ALL, deaths),
    ("B15", ["pebble"], limits),
    ("B16", ALL, straggler),
    ("B17", ALL, slow_consumer),
    ("B18", ALL, wake_ups),
    ("B19", ALL, memory),
    ("B20", ALL, sweep),
]
