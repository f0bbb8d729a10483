"""One job for many items: here, in several processes, or on a Dask cluster.

Wherever it runs, an item is worked on by one processor thread: sums have the same order then, so
the result has the same bits. More cores are used by more workers.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import torch

from .base import ArtifactError, ConfigError

Shared, Item, Result = TypeVar("Shared"), TypeVar("Item"), TypeVar("Result")
Job = Callable[[Shared, Item], Result]
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of malloc.h
WAIT_S = 30  # for a scheduler to answer
UNGUARDED = (
    'workers read the script anew: its work must stand under `if __name__ == "__main__":`, or it '
    "would begin again in each of them; put it there, or take workers=1"
)


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Who does the work: which share of it, and in which processes."""

    share: tuple[int, int] = (0, 1)  # (k, n): every n-th item from the k-th on
    workers: int = 1  # processes on this machine; 1: this one
    scheduler: str | None = None  # address of a Dask cluster that does it instead

    def __post_init__(self) -> None:
        k, n = self.share
        if not 0 <= k < n or self.workers < 1:
            raise ConfigError(f"want a share (k, n), k < n, and workers >= 1, got {self}")

    def take(self, items: Sequence[Item]) -> list[Item]:
        """The items of this executor's share."""
        k, n = self.share
        return [item for item in items if item % n == k]

    def each(self, job: Job, items: Sequence[Item], shared: Shared) -> Iterator[Result]:
        """job(shared, item) for every item, in the order in which they are done.

        Raises:
            ArtifactError: a worker was killed, or workers died again and again.
            ConfigError: workers cannot begin, or what they need cannot be sent to them; there is
                no such cluster, or dask is not installed.
        """
        if self.scheduler:
            return _on_cluster(job, items, shared, self.scheduler)
        if self.workers > 1 and len(items) > 1:
            return _in_processes(job, items, shared, min(self.workers, len(items)))
        return (alone(job, shared, item) for item in items)


def alone(job: Job, shared: Shared, item: Item) -> Result:
    """job(shared, item) on one processor thread."""
    with one_thread():
        return job(shared, item)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch uses one processor thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_processes(
    job: Job, items: Sequence[Item], shared: Shared, workers: int
) -> Iterator[Result]:
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(
            UNGUARDED
        )  # in a worker that reads the script: it would begin again
    pool, others = processes(job, shared, workers), set(multiprocessing.active_children())
    try:
        futures = [_sent(pool, item) for item in items]
        ours = set(multiprocessing.active_children()) - others
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        pool.shutdown(cancel_futures=True)
        raise _death([worker.exitcode or 0 for worker in ours]) from error
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the items that are being worked on


def _sent(pool: ProcessPoolExecutor, item: Item) -> Future:
    try:
        return pool.submit(settled, item)
    except (pickle.PicklingError, AttributeError, TypeError) as error:  # as pickle has it
        raise ConfigError(
            f"workers cannot be handed the job or what it needs ({error}): define it at the top "
            "of a module, or take workers=1"
        ) from error


def _death(codes: Sequence[int]) -> ArtifactError | ConfigError:
    """Why workers died, from their exit codes: as they began, or of which signal."""
    if any(code > 0 for code in codes):
        script = getattr(sys.modules["__main__"], "__file__", None)
        if not script:
            return ConfigError(
                "workers cannot begin: what a notebook defines is not there in another process; "
                "put the job and its classes into a .py file and import them, or take workers=1"
            )
        guarded = "__main__" in Path(script).read_text(encoding="utf-8", errors="replace")
        printed = (
            "workers cannot begin, the error that they printed stands above; workers=1 does the "
            "same in this process"
        )
        return ConfigError(printed if guarded else UNGUARDED)
    stopped = -signal.SIGTERM  # the pool ends the others by it
    number = min(codes, key=lambda code: (code in (0, stopped), code), default=0)
    name = signal.Signals(-number).name if number else "itself"
    memory = number == -signal.SIGKILL  # what a system without memory sends
    return ArtifactError(
        f"a worker process was ended by {name}{', as where memory runs out' if memory else ''}; "
        f"what is whole is kept: run again to resume{', with fewer workers' if memory else ''}"
    )


def processes(job: Job, shared: Shared, workers: int) -> ProcessPoolExecutor:
    """Processes that have `job` and `shared` ready: submit `settled` with an item."""
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's locks
    return ProcessPoolExecutor(workers, context, _settle, (job, shared))


def settled(item: Item) -> Result:
    """In one of `processes`: its job for this item."""
    return _settled_job(item)


def _settle(job: Job, shared: Shared) -> None:
    """What a worker process keeps; Ctrl-C is for its parent, without which it ends."""
    global _settled_job
    _settled_job = partial(alone, job, shared)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_memory()
    threading.Thread(target=_follow_parent, daemon=True).start()


def keep_memory() -> None:
    """Ask the C library to keep what is freed, where it can be asked (glibc).

    It gives large tensors back to the system at once, and every step fetches them anew, page by
    page: a sixth of the time of ViT-S/16 with hundreds of images.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(TRIM_THRESHOLD, -1)
        library.mallopt(MMAP_MAX, 0)


def _follow_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _on_cluster(
    job: Job, items: Sequence[Item], shared: Shared, scheduler: str
) -> Iterator[Result]:
    try:
        from distributed import Client, KilledWorker  # an extra, a second to import
        from distributed import as_completed as completed
        from distributed.protocol.pickle import dumps  # of what __main__ defines, too
    except ImportError as error:
        words = "a cluster needs dask; run: pip install 'hyperlab[cluster]'"
        raise ConfigError(words) from error
    try:
        client = Client(scheduler, timeout=WAIT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with: dask scheduler"
        ) from error
    with client:
        # Bytes: workers hand them on while they work, and a model at work has other weights.
        # Submitted, not scattered: the scheduler can make them again when their holder is lost.
        held = client.submit(_same, dumps(shared))
        futures = client.map(partial(_swapped, job), items, packed=held, pure=False)
        try:
            for future in completed(futures, loop=client.loop):
                yield future.result()
        except KilledWorker as error:
            raise ArtifactError(
                f"workers died again and again ({error}); what is whole is kept: give them more "
                "memory, then run again to resume"
            ) from error


def _same(packed: bytes) -> bytes:
    return packed


def _swapped(job: Job, item: Item, packed: bytes) -> Result:
    return alone(job, _unpacked(packed), item)


@lru_cache(maxsize=1)
def _unpacked(packed: bytes) -> Shared:
    from distributed.protocol.pickle import loads

    return loads(packed)
