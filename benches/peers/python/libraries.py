"""One face for all libraries: a pool with `map`, `apply`, `unordered`, and its defaults.

`most_items` is what a default `map` does in a second or two. `outcomes` are those of `unordered`,
but with an exception in the place of a value that there is not, where the library can tell.
"""

import concurrent.futures
import multiprocessing


class Multiprocessing:
    """Chunks by default: a quarter of a worker's share."""

    most_items = 10**7
    start_method = "fork"

    def __init__(self, workers):
        self.pool = multiprocessing.get_context(self.start_method).Pool(workers)

    def map(self, function, items, chunksize=None):
        return self.pool.map(function, items, chunksize)

    def apply(self, function, item):
        return self.pool.apply(function, (item,))

    def unordered(self, function, items):
        return self.pool.imap_unordered(function, items)

    outcomes = unordered

    def ordered(self, function, items):
        return self.pool.imap(function, items)

    def pids(self):
        return [process.pid for process in self.pool._pool]

    def close(self):
        self.pool.terminate()


class MultiprocessingForkserver(Multiprocessing):
    start_method = "forkserver"


class ConcurrentFutures:
    """One item at a time by default."""

    most_items = 10**4

    def __init__(self, workers):
        self.pool = self.executor(workers)

    def executor(self, workers):
        return concurrent.futures.ProcessPoolExecutor(workers)

    def map(self, function, items, chunksize=1):
        return list(self.pool.map(function, items, chunksize=chunksize))

    def apply(self, function, item):
        return self.pool.submit(function, item).result()

    def unordered(self, function, items):
        futures = [self.pool.submit(function, item) for item in items]
        return (future.result() for future in concurrent.futures.as_completed(futures))

    def outcomes(self, function, items):
        futures = [self.pool.submit(function, item) for item in items]
        return map(outcome, concurrent.futures.as_completed(futures))

    def ordered(self, function, items):
        return self.pool.map(function, items)

    def pids(self):
        return list(self.pool._processes or {})

    def close(self):
        self.pool.shutdown(cancel_futures=True)


class Loky(ConcurrentFutures):
    """As concurrent.futures."""

    def executor(self, workers):
        import loky

        return loky.ProcessPoolExecutor(workers)

    def close(self):
        self.pool.shutdown(kill_workers=True)


class Mpire(Multiprocessing):
    """Chunks by default: 64 per worker."""

    most_items = 10**5

    def __init__(self, workers):
        import mpire

        self.pool = mpire.WorkerPool(workers, keep_alive=True)

    def map(self, function, items, chunksize=None):
        return self.pool.map(function, items, chunk_size=chunksize)

    def pids(self):
        return [process.pid for process in self.pool._workers]


class Pebble:
    """One item at a time by default."""

    most_items = 10**4

    def __init__(self, workers):
        import pebble

        self.pool = pebble.ProcessPool(max_workers=workers)

    def map(self, function, items, chunksize=1):
        return list(self.pool.map(function, items, chunksize=chunksize).result())

    def apply(self, function, item):
        return self.pool.schedule(function, args=(item,)).result()

    def unordered(self, function, items):
        futures = [self.pool.schedule(function, args=(item,)) for item in items]
        return (future.result() for future in concurrent.futures.as_completed(futures))

    def outcomes(self, function, items):
        futures = [self.pool.schedule(function, args=(item,)) for item in items]
        return map(outcome, concurrent.futures.as_completed(futures))

    def ordered(self, function, items):
        return self.pool.map(function, items).result()

    def within(self, seconds, function, item):
        """A future that fails when the time is up."""
        return self.pool.schedule(function, args=(item,), timeout=seconds)

    def pids(self):
        return list(self.pool._pool_manager.worker_manager.workers)

    def close(self):
        self.pool.stop()
        self.pool.join()


def outcome(future):
    return future.exception() or future.result()


LIBRARIES = {
    "multiprocessing": (Multiprocessing, "multiprocessing"),
    "multiprocessing forkserver": (MultiprocessingForkserver, "multiprocessing"),
    "multiprocessing RawArray": (Multiprocessing, "multiprocessing"),
    "concurrent.futures": (ConcurrentFutures, "concurrent.futures"),
    "loky": (Loky, "loky"),
    "mpire": (Mpire, "mpire"),
    "pebble": (Pebble, "pebble"),
}


def missing():
    """Why each library that is not here is not."""
    reasons = {}
    for name, (_, module) in LIBRARIES.items():
        try:
            __import__(module)
        except Exception as error:
            reasons[name] = f"{type(error).__name__}: {error}"
    return reasons
