"""One job for many items: here, in several processes, or on a Dask cluster.

Wherever it runs, an item is worked on by one processor thread: sums have the same order then, so
the result has the same bits. More cores are used by more workers.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeVar

import torch

from .base import ArtifactError, ConfigError

Shared, Item, Result = TypeVar("Shared"), TypeVar("Item"), TypeVar("Result")
Job = Callable[[Shared, Item], Result]
TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of malloc.h
WAIT_S = 30  # for a scheduler to answer


@dataclass(frozen=True, kw_only=True)
class Crew:
    """Who does the work: which share of it, and in which processes."""

    share: tuple[int, int] = (0, 1)  # (k, n): every n-th item from the k-th on
    workers: int = 1  # processes on this machine; 1: this one
    scheduler: str | None = None  # address of a Dask cluster that does it instead

    def __post_init__(self) -> None:
        k, n = self.share
        if not 0 <= k < n or self.workers < 1:
            raise ConfigError(
                f"want a share (k, n) with k < n and workers >= 1, got {self}"
            )

    def take(self, items: Sequence[Item]) -> list[Item]:
        """The items of this crew's share."""
        k, n = self.share
        return [item for item in items if item % n == k]

    def each(self, job: Job, items: Sequence[Item], shared: Shared) -> Iterator[Result]:
        """job(shared, item) for every item, in the order in which they are done.

        Raises:
            ArtifactError: workers died again and again.
            ConfigError: there is no such cluster, or dask is not installed.
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
    pool = processes(job, shared, workers)
    try:
        for future in as_completed([pool.submit(settled, item) for item in items]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ArtifactError(
            "a worker process died (killed, or out of memory); what is whole is kept: run "
            "again to resume, with fewer workers if memory was short"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)  # waits for the items that are being worked on


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
        from distributed import (  # an extra: it takes a second to import
            Client,
            KilledWorker,
        )
        from distributed import as_completed as completed
        from distributed.protocol.pickle import dumps  # of what __main__ defines, too
    except ImportError as error:
        raise ConfigError(
            "a cluster needs dask; run: pip install 'hyperlab[cluster]'"
        ) from error
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
