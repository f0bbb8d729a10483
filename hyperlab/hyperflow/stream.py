"""Random mini-batches from a store that is larger than memory."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from ..base import ArtifactError, ConfigError, ahead, stream
from .trajectories import Trajectories, TrajectoryStore

SAMPLE = 512  # tasks that units are taken from


@dataclass(frozen=True, eq=False)
class Stream:
    """What training sees of a store that it does not hold: the same as of `Trajectories`.

    The store's batches are read in a random order, by a thread, into a pool. A mini-batch is
    drawn from the pool, each time with other times t; the first of its tasks then make room for
    new ones, so that a task is drawn `draws` times on average before it goes. All tasks are
    read once before any is read again.

    Args:
        memory_bytes: of the pool.
        draws: of a task, for one reading.
        device: where the mini-batches go.
    """

    store: TrajectoryStore
    memory_bytes: int = 2**30
    draws: int = 8
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError(f"want at least one draw of a task, got {self.draws}")
        if not len(self):
            raise ArtifactError(
                f"{self.store.path} holds no complete batch yet; collect some first"
            )

    def __len__(self) -> int:
        """Tasks that are there and did not diverge."""
        return self._n_tasks

    @cached_property
    def _n_tasks(self) -> int:
        return len(self.store.sound)

    @cached_property
    def some(self) -> Trajectories:
        """A random sample, which units and sizes are taken from."""
        tasks, found = self._tasks(stream(0, "sample")), []
        while len(found) < min(SAMPLE, len(self) // 2 + 1, self._pool_size):
            found.append(next(tasks))
        return Trajectories.join(found).to(self.device)

    def batches(self, n: int, generator: torch.Generator) -> Iterator[Trajectories]:
        """Without end, n random tasks each time."""
        order = stream(int(torch.randint(2**31, (), generator=generator)), "order")
        tasks = ahead(self._tasks(order), n=n)
        size = max(n, min(self._pool_size, len(self) // 2))
        pool = list(itertools.islice(tasks, size))
        for step in itertools.count():
            taken = torch.randperm(len(pool), generator=generator)[:n].tolist()
            yield Trajectories.join([pool[i] for i in taken]).to(self.device)
            n_new = (step + 1) * n // self.draws - step * n // self.draws
            for i in taken[:n_new]:
                pool[i] = next(tasks)

    @property
    def _pool_size(self) -> int:
        """Tasks that fit into the memory, were all as large as the largest."""
        return max(1, int(self.memory_bytes / (self.store.n_bytes / self.store.n_rows)))

    def _tasks(self, generator: torch.Generator) -> Iterator[Trajectories]:
        """Without end, task by task; the batches of every round in a new order."""
        there = torch.tensor(self.store.there)
        while True:
            for i in torch.randperm(len(there), generator=generator).tolist():
                batch = self.store.trajectories(self.store.batch(int(there[i])))
                for k in range(len(batch)):
                    yield batch.of(torch.tensor([k])).trimmed()


def spare_a_core() -> None:
    """Leave a core to the thread that reads; called once, by a script that trains from a stream.

    With all cores on the model its threads wait for each other while one of them reads: on two
    cores a step took 0.086 s with two threads and 0.060 s with one (`bench_feeding.py`).
    """
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
