"""Recorded fine-tuning: in memory, and as a store on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..base import ArtifactError, Progress, silent
from ..store import Column, Store
from .context import Context, pad


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Fine-tuning runs of many tasks, with the context of each, in memory.

    Args:
        times: of the knots, from 0 (pre-trained) to 1 (fine-tuned).
        losses: support loss at every knot.
        domain: index into `domains` of each task.
        token_size: numbers of theta that belong together, e.g. one layer's query bias.
        target: what they were recorded of, see `models.belonging.described`; "": not known.
    """

    thetas: Float[Tensor, " tasks knots params"]
    losses: Float[Tensor, " tasks knots"]
    contexts: Context
    domain: Int[Tensor, " tasks"]
    domains: tuple[str, ...]
    styled: Bool[Tensor, " tasks"]
    token_size: int
    target: str = ""

    def __len__(self) -> int:
        return len(self.thetas)

    @property
    def times(self) -> Float[Tensor, " knots"]:
        return torch.linspace(0, 1, self.thetas.shape[1], device=self.thetas.device)

    @property
    def displacement(self) -> Float[Tensor, " tasks params"]:
        """How far fine-tuning moved each task's parameters, theta(1) - theta(0)."""
        return self.thetas[:, -1] - self.thetas[:, 0]

    def context(self, rows: Int[Tensor, " batch"]) -> Context:
        """The padded contexts of some tasks, no longer than the longest of them."""
        labels = self.contexts.labels[rows]
        n = int((labels >= 0).sum(1).max())
        return Context(
            self.contexts.features[rows, :n],
            self.contexts.residual[rows, :n],
            labels[:, :n],
        )

    def to(self, device: torch.device | str) -> "Trajectories":
        """A copy on `device`."""
        moved = {
            n: getattr(self, n).to(device)
            for n in ("thetas", "losses", "contexts", "domain", "styled")
        }
        return replace(self, **moved)

    def of(self, rows: Int[Tensor, " batch"] | Bool[Tensor, " tasks"]) -> "Trajectories":
        """Some of the tasks."""
        c = self.contexts
        contexts = Context(c.features[rows], c.residual[rows], c.labels[rows])
        taken = {
            n: getattr(self, n)[rows] for n in ("thetas", "losses", "domain", "styled")
        }
        return replace(self, contexts=contexts, **taken)

    @property
    def some(self) -> "Trajectories":
        """What units and sizes are taken from: all of it, where it is in memory."""
        return self

    def batches(self, n: int, generator: torch.Generator) -> Iterator["Trajectories"]:
        """Without end, n random tasks each time."""
        while True:
            rows = torch.randint(len(self), (n,), generator=generator)
            yield self.of(rows).trimmed()

    def trimmed(self) -> "Trajectories":
        """The same tasks, their contexts no longer than the longest of them."""
        return replace(self, contexts=self.context(torch.arange(len(self))))

    @classmethod
    def join(cls, parts: Sequence["Trajectories"]) -> "Trajectories":
        """The tasks of several, which come from the same store."""
        named = ("thetas", "losses", "domain", "styled")
        joined = {n: torch.cat([getattr(p, n) for p in parts]) for n in named}
        contexts = [row for p in parts for row in p.contexts.rows()]
        return replace(parts[0], contexts=pad(contexts), **joined)

    def unit(self) -> Float[Tensor, " params"]:
        """The root mean square displacement of each token, 0 where fine-tuning moves nothing.

        A token under a thousandth of the largest is rounding noise (the inert key biases).
        """
        tokens = self.displacement.unflatten(1, (-1, self.token_size))
        rms = tokens.square().mean((0, 2)).sqrt()
        rms = rms * (rms > 1e-3 * rms.max())
        return rms.repeat_interleave(self.token_size)


COLUMNS = MappingProxyType(
    {
        "thetas": Column(("task", "knot", "param"), "f4"),
        "losses": Column(("task", "knot"), "f4"),
        "features": Column(("task", "image", "input"), "f2"),
        "residual": Column(("task", "image", "dim"), "f2"),
        "labels": Column(("task", "image"), "i2", fill=-1),
        "domain": Column(("task",), "i2"),
        "styled": Column(("task",), "?"),
        "n_way": Column(("task",), "i2"),
        "n_support": Column(("task",), "i2"),
        "diverged": Column(("task",), "?"),
    }
)


class TrajectoryStore(Store):
    """Trajectories on disk."""

    columns = COLUMNS
    kind = "trajectories"
    script = "python data_scripts/collect_trajectories.py"

    @property
    def sound(self) -> np.ndarray:
        """Indices of the tasks that are there and did not diverge."""
        whole = np.repeat(self.group["mark"][:] != 0, self.group.attrs["batch"])
        return np.flatnonzero(whole[: self.n_rows] & ~self.group["diverged"][:])

    @property
    def n_diverged(self) -> int:
        """Tasks that diverged, among those that are there."""
        return int(self.group["diverged"][:].sum())

    def read(self, *, progress: Progress = silent) -> Trajectories:
        """All complete tasks that did not diverge, in memory.

        Raises:
            ArtifactError: no batch is complete, or one is damaged.
        """
        if broken := self.damaged(progress=progress):
            raise self.broken(broken)
        batches = [self.batch(batch) for batch in self.there]
        if not batches:
            raise ArtifactError(
                f"{self.path} holds no complete batch yet; collect some first"
            )
        names = list(batches[0])
        return self.trajectories(
            {n: np.concatenate([b.pop(n) for b in batches]) for n in names}
        )

    def trajectories(self, arrays: Mapping[str, np.ndarray]) -> Trajectories:
        """What some batches hold, without the tasks that diverged."""
        keep = ~arrays["diverged"]

        def load(name: str) -> Tensor:
            return torch.from_numpy(arrays[name][keep])

        contexts = Context(load("features"), load("residual"), load("labels").long())
        return Trajectories(
            load("thetas"),
            load("losses"),
            contexts,
            load("domain").long(),
            tuple(self.group.attrs["domains"]),
            load("styled"),
            self.group.attrs["token_size"],
            self.group.attrs.get("made_for", ""),
        )
