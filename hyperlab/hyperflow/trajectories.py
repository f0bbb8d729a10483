"""Recorded fine-tuning: in memory, as a store on disk, and streamed from that in mini-batches."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..base import ArtifactError, ConfigError, Progress, ahead, silent, stream
from ..store import Column, Store
from .context import Context, pad

SAMPLE = 512  # tasks that a stream takes units from
LIKE = 4  # mini-batches that are drawn together and sorted by size
HELD_OUT = 16  # of so many batches one is held out
ROWS = ("thetas", "losses", "contexts", "domain", "styled", "perturbed")  # one a task


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Fine-tuning runs of many tasks, with the context of each, in memory.

    Args:
        times: of the knots, from 0 (pre-trained) to 1 (fine-tuned).
        losses: support loss at every knot.
        domain: index into `domains` of each task.
        perturbed: whether a task starts beside theta0.
        token_size: numbers of theta that belong together, e.g. one layer's query bias.
        target: what they were recorded of, see `models.belonging.described`; "": not known.
    """

    thetas: Float[Tensor, " tasks knots params"]
    losses: Float[Tensor, " tasks knots"]
    contexts: Context
    domain: Int[Tensor, " tasks"]
    domains: tuple[str, ...]
    styled: Bool[Tensor, " tasks"]
    perturbed: Bool[Tensor, " tasks"]
    token_size: int
    target: str = ""

    def __len__(self) -> int:
        return len(self.thetas)

    @property
    def times(self) -> Float[Tensor, " knots"]:
        return torch.linspace(0, 1, self.thetas.shape[1], device=self.thetas.device)

    @property
    def theta0(self) -> Float[Tensor, " params"]:
        """Where the paths begin that were not moved: the pre-trained values."""
        return self.thetas[~self.perturbed][0, 0]

    @property
    def displacement(self) -> Float[Tensor, " tasks params"]:
        """How far fine-tuning moved each task's parameters, theta(1) - theta(0)."""
        return self.thetas[:, -1] - self.thetas[:, 0]

    def to(self, device: torch.device | str) -> "Trajectories":
        """A copy on `device`."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ROWS})

    def of(self, rows: Int[Tensor, " batch"] | Bool[Tensor, " tasks"]) -> "Trajectories":
        """Some of the tasks."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ROWS})

    @property
    def sample(self) -> "Trajectories":
        """What units and sizes are taken from: all of it, where it is in memory."""
        return self

    def batches(self, n: int, generator: torch.Generator) -> Iterator["Trajectories"]:
        """Without end, n random tasks each time, of about the same size."""
        sizes = (self.contexts.labels >= 0).sum(1).cpu()
        while True:
            rows = torch.randint(len(self), (LIKE * n,), generator=generator)
            for part in alike(sizes[rows], generator):
                yield self.trimmed(rows[part])

    def trimmed(self, rows: Int[Tensor, " batch"]) -> "Trajectories":
        """Some of the tasks, their contexts no longer than the longest of them."""
        part = self.of(rows)
        longest = int((part.contexts.labels >= 0).sum(1).max())
        return replace(part, contexts=part.contexts[:, :longest])

    @classmethod
    def join(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """The tasks of several, which come from the same store."""
        contexts = pad([p.contexts[i] for p in parts for i in range(len(p))])
        named = [name for name in ROWS if name != "contexts"]
        joined = {name: torch.cat([getattr(p, name) for p in parts]) for name in named}
        return replace(parts[0], contexts=contexts, **joined)

    def unit(self) -> Float[Tensor, " params"]:
        """The root mean square displacement of each token, 0 where fine-tuning moves nothing.

        A token under a thousandth of the largest is rounding noise (the inert key biases).
        """
        tokens = self.displacement.unflatten(1, (-1, self.token_size))
        rms = tokens.square().mean((0, 2)).sqrt()
        rms = rms * (rms > 1e-3 * rms.max())
        return rms.repeat_interleave(self.token_size)


def alike(sizes: Int[Tensor, " n"], generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of `LIKE` mini-batches in random order, each of about one size: less padding."""
    parts = sizes.argsort(stable=True).chunk(LIKE)
    for k in torch.randperm(LIKE, generator=generator):
        yield parts[k]


class TrajectoryStore(Store):
    """Trajectories on disk."""

    kind = "trajectories"
    script = "python data_scripts/collect_trajectories.py"
    columns = MappingProxyType(
        {
            "thetas": Column(("task", "knot", "param"), "f4"),
            "losses": Column(("task", "knot"), "f4"),
            "features": Column(("task", "image", "input"), "f2"),
            "residual": Column(("task", "image", "dim"), "f2"),
            "labels": Column(("task", "image"), "i2", fill=-1),
            "domain": Column(("task",), "i2"),
            "styled": Column(("task",), "?"),
            "perturbed": Column(("task",), "?"),
            "n_way": Column(("task",), "i2"),
            "n_support": Column(("task",), "i2"),
            "diverged": Column(("task",), "?"),
        }
    )

    @property
    def sound(self) -> np.ndarray:
        """Indices of the tasks that are there and did not diverge."""
        whole = np.repeat(self.group["mark"][:] != 0, self.group.attrs["batch"])
        return np.flatnonzero(whole[: self.n_rows] & ~self.group["diverged"][:])

    def split(self, n_tasks: int = 0) -> tuple[list[int], list[int]]:
        """Batches of the first n tasks (0: all), and every sixteenth; a lone batch is both."""
        batches = self.there[: -(-n_tasks // self.group.attrs["batch"]) or None]
        held_out = batches[::HELD_OUT]
        return [b for b in batches if b not in {*held_out}] or batches, held_out

    @property
    def n_diverged(self) -> int:
        """Tasks that diverged, among those that are there."""
        return int(self.group["diverged"][:].sum())

    def read(
        self, batches: Sequence[int] | None = None, *, progress: Progress = silent
    ) -> Trajectories:
        """All complete tasks that did not diverge, or those of some batches, in memory.

        Raises:
            ArtifactError: no batch is complete, or one is damaged.
        """
        if batches is None and (broken := self.damaged(progress=progress)):
            raise self.broken(broken)
        parts = [self.batch(b) for b in (self.there if batches is None else batches)]
        if not parts:
            raise self.empty()
        columns = {n: np.concatenate([p.pop(n) for p in parts]) for n in self.columns}
        return self.trajectories(columns)

    def empty(self) -> ArtifactError:
        """The error of a store from which nothing can be read yet."""
        return ArtifactError(f"{self.path} holds no complete batch yet; collect some first")

    def trajectories(self, arrays: Mapping[str, np.ndarray]) -> Trajectories:
        """What some batches hold, without the tasks that diverged."""
        keep = ~arrays["diverged"]

        def load(name: str) -> Tensor:
            return torch.from_numpy(arrays[name][keep])

        about = self.group.attrs
        return Trajectories(
            load("thetas"),
            load("losses"),
            Context(load("features"), load("residual"), load("labels").long()),
            load("domain").long(),
            tuple(about["domains"]),
            load("styled"),
            load("perturbed"),
            about["token_size"],
            about.get("made_for", ""),
        )


@dataclass(frozen=True, eq=False)
class Stream:
    """What training sees of a store that it does not hold: the same as of `Trajectories`.

    The store's batches are read in a random order, by a thread, into a pool. A mini-batch is
    drawn from the pool, each time with other times t; the first of its tasks then make room for
    new ones, so that a task is drawn `draws` times on average before it goes. All tasks are
    read once before any is read again.

    Args:
        only: batches of the store; None: all that are there.
        memory_bytes: of the pool.
        draws: of a task, for one reading.
        device: where the mini-batches go.
    """

    store: TrajectoryStore
    only: Sequence[int] | None = None
    memory_bytes: int = 2**30
    draws: int = 8
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError(f"want at least one draw of a task, got {self.draws}")
        if not len(self):
            raise self.store.empty()

    def __len__(self) -> int:
        """Tasks that are there and did not diverge."""
        owners = self.store.sound // self.store.group.attrs["batch"]
        return int(np.isin(owners, self._batches).sum())

    @property
    def _batches(self) -> Sequence[int]:
        return self.store.there if self.only is None else self.only

    @cached_property
    def sample(self) -> Trajectories:
        """Random tasks, which units and sizes are taken from."""
        n = min(SAMPLE, len(self) // 2 + 1, self._pool_size)
        tasks = itertools.islice(self._tasks(stream(0, "sample")), n)
        return Trajectories.join(list(tasks)).to(self.device)

    def batches(self, n: int, generator: torch.Generator) -> Iterator[Trajectories]:
        """Without end, n random tasks each time."""
        order = stream(int(torch.randint(2**31, (), generator=generator)), "order")
        tasks = ahead(self._tasks(order), n=n)
        size = max(LIKE * n, min(self._pool_size, len(self) // 2))
        pool = list(itertools.islice(tasks, size))
        for step in itertools.count():
            rows = torch.randperm(len(pool), generator=generator)[: LIKE * n]
            sizes = torch.tensor([pool[i].contexts.labels.shape[1] for i in rows])
            for part in alike(sizes, generator):
                yield Trajectories.join([pool[i] for i in rows[part]]).to(self.device)
            n_new = (step + 1) * len(rows) // self.draws - step * len(rows) // self.draws
            for i in rows[:n_new]:
                pool[i] = next(tasks)

    @property
    def _pool_size(self) -> int:
        """Tasks that fit into the memory, were all as large as the largest."""
        return max(1, int(self.memory_bytes / (self.store.n_bytes / self.store.n_rows)))

    def _tasks(self, generator: torch.Generator) -> Iterator[Trajectories]:
        """Without end, task by task; the batches of every round in a new order."""
        there = torch.tensor(self._batches)
        while True:
            for i in torch.randperm(len(there), generator=generator).tolist():
                batch = self.store.trajectories(self.store.batch(int(there[i])))
                for k in range(len(batch)):
                    yield batch.trimmed(torch.tensor([k]))
