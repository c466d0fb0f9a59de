"""What a contestant says about one trial. The same as benches/support."""

import json
import math
import time

STEADY = 0.1  # seconds that a steady state is measured for
PERCENTILES = (50, 75, 90, 99, 99.9, 99.99)


class Trial:
    def __init__(self, row, contestant, quick):
        self.row, self.contestant, self.quick = row, contestant, quick

    def size(self, full, quick):
        return quick if self.quick else full

    def emit(self, workload, unit, value, **more):
        """More: items, parameter, percentiles, series, failed."""
        record = dict(row=self.row, workload=workload, unit=unit, value=value)
        print(json.dumps(record | dict(contestant=self.contestant, kind="processes") | more), flush=True)

    def emit_latencies(self, workload, unit, samples):
        curve = percentiles(samples)
        for percent, value in curve:
            if percent in (50, 99):
                more = dict(percentiles=curve) if percent == 50 else {}
                self.emit(f"{workload}, p{percent}", unit, value, items=len(samples), **more)


def percentiles(samples):
    ordered = sorted(samples)
    below = lambda percent: math.ceil(len(ordered) * percent / 100)
    return [
        (percent, ordered[max(below(percent) - 1, 0)])
        for percent in PERCENTILES
        if below(percent) < len(ordered)
    ]


def steady(call):
    """Seconds of a call, after one that warms up."""
    call()
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < STEADY:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def paced(run):
    """Seconds of one of the rounds of `run`, which does as many as it is told to and returns how
    long they took, after some that warm up."""
    rounds = 8
    run(rounds)
    while True:
        spent = run(rounds)
        if spent >= STEADY / 2:
            return spent / rounds
        rounds = math.ceil(rounds * min(max(STEADY / spent, 2), 8))


def latencies(rounds, pause, call):
    """Microseconds of each call, with a pause in seconds before each."""
    call()
    samples = []
    for _ in range(rounds):
        if pause:
            time.sleep(pause)
        start = time.perf_counter_ns()
        call()
        samples.append((time.perf_counter_ns() - start) / 1e3)
    return samples
