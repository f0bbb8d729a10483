"""Which tasks must be recorded? Drift networks made from parts of one store, on the same tasks.

A part is a choice of recorded tasks: of few or many domains, few or many tasks, with or without a
style of their own, writing alone or everything but writing. Each part gets a learned Jacobian of
its own, trained for the same number of steps, and a pace; nothing else differs.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from ..base import ConfigError, Progress, silent, stream
from ..hyperflow import drift
from ..hyperflow.drift import DriftNetwork
from ..hyperflow.jacobian import Examples, JacobianConfig, fit_jacobian
from ..hyperflow.training import DriftConfig, fit_drift
from ..hyperflow.trajectories import Trajectories

WRITING = ("omniglot", "characters", "runes", "cursive")
GUESS = DriftConfig(steps=0)  # the Jacobian's guess at its pace, without a correction
Rows = Int[Tensor, " tasks"]


def parts(data: Trajectories, *, few: int = 40, seed: int = 0) -> dict[str, Rows]:
    """Name -> the tasks of a part.

    Args:
        few: tasks of the smallest parts; a domain stands alone if it has as many.

    Raises:
        ConfigError: the store holds too little writing, or no task without a style.
    """
    order = torch.randperm(len(data), generator=stream(seed, "bases"))
    by_domain = [order[data.domain[order] == d] for d in range(len(data.domains))]
    large = [d for d, rows in enumerate(by_domain) if len(rows) >= few]
    written = torch.tensor([name in WRITING for name in data.domains])[data.domain[order]]
    plain = order[~data.styled[order]]
    n, m = int(written.sum()), len(plain)
    if not large or min(n, m) < 1 or n > len(data) // 2:
        raise ConfigError(
            f"the parts need domains of {few} tasks, writing and tasks without style; the "
            f"store has {len(data)} tasks, {n} of writing, {m} without style"
        )
    alone = {f"{data.domains[d]} alone, {few}": by_domain[d][:few] for d in large[-3:]}
    some = large[-5:]
    spread = torch.cat([by_domain[d][: -(-few // len(some))] for d in some])[:few]
    return {
        **alone,
        f"{len(some)} domains, {few}": spread,
        f"all domains, {few}": order[:few],
        f"all domains, {n}": order[:n],
        f"writing, {n}": order[written],
        f"no writing, {n}": order[~written][:n],
        f"without styles, {m}": plain,
        f"with styles, {m}": order[data.styled[order]][:m],
        f"all domains, {len(data)}": order,
    }


def images_of(data: Trajectories, examples: Examples, rows: Rows) -> Examples:
    """What was seen of some tasks: every task was looked at equally often, one after another."""
    looks = len(examples.delta) // len(data)
    wanted = torch.zeros(len(data), dtype=torch.bool)
    wanted[rows] = True
    keep = wanted.repeat_interleave(looks)[examples.look]
    kept = (x[keep] for x in examples[:4])
    return Examples(*kept, examples.delta, examples.look[keep])


def network(
    data: Trajectories,
    looks: Callable[[], Examples],
    rows: Rows,
    config: JacobianConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> DriftNetwork:
    """The drift network of a part.

    Args:
        looks: gives what was seen of all tasks of `data`, see `jacobian.gather`.
    """
    generator = stream(seed, "bases", "network")
    told = {"generator": generator, "token_size": data.token_size}
    seen = images_of(data, looks(), rows)
    jacobian = fit_jacobian(seen, config, **told, progress=progress)
    return fit_drift(data.of(rows), GUESS, jacobian, generator=generator)


def kept(path: Path, make: Callable[[], DriftNetwork]) -> DriftNetwork:
    """The network at `path`, made and saved first where there is none."""
    if not path.exists():
        drift.save(make().cpu(), path, {"part": path.stem})
    return drift.load(path)
