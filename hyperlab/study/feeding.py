"""How well a drift network is fed from a store that is larger than memory."""

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ..base import Progress, silent, stream
from ..hyperflow import drift
from ..hyperflow.training import DriftConfig, fit_drift
from ..hyperflow.trajectories import Stream, Trajectories, TrajectoryStore

SIZES = {"knot": 51, "param": 1_728, "image": 25, "input": 1_344, "dim": 96}  # vit_micro
BATCH, N_WAY = 8, 5


@dataclass
class Watched:
    """A source of mini-batches that counts how long training waits for them."""

    data: Stream | Trajectories
    waited_s: list[float] = field(default_factory=list)

    @property
    def sample(self) -> Trajectories:
        return self.data.sample

    def batches(self, n: int, generator: torch.Generator) -> Iterator[Trajectories]:
        """The same batches."""
        batches = self.data.batches(n, generator)
        while True:
            start = time.perf_counter()
            batch = next(batches)
            self.waited_s.append(time.perf_counter() - start)
            yield batch


def made_up(path: Path, n_tasks: int, *, seed: int, progress: Progress = silent) -> None:
    """A store of smooth random paths in the sizes of `vit_micro`, 5 ways and 5 shots."""
    about = {"domains": ["made up"], "token_size": SIZES["dim"], "seed": seed}
    store = TrajectoryStore.create(
        path, SIZES | {"task": n_tasks}, batch=BATCH, about=about
    )
    for batch in progress(store.missing, total=len(store.missing), desc="making up"):
        store.write(batch, _arrays(store, np.random.default_rng((seed, batch)), batch))


def _arrays(
    store: TrajectoryStore, dice: np.random.Generator, batch: int
) -> dict[str, np.ndarray]:
    rows = store.rows(batch)
    n = rows.stop - rows.start

    def normal(*shape: int) -> np.ndarray:
        return dice.standard_normal((n, *shape), dtype="f4")

    knots, params = SIZES["knot"], SIZES["param"]
    t = np.linspace(0, 1, knots, dtype="f4")[:, None]
    waves = [normal(1, params) * np.sin(k * t) for k in (1, 2, 3)]
    flags = {name: np.zeros(n) for name in ("domain", "styled", "diverged")}
    labels = np.tile(np.arange(SIZES["image"]) % N_WAY, (n, 1))
    return flags | {
        "thetas": sum(waves) + 1e-3 * normal(knots, params) * (t > 0),
        "losses": np.ones((n, knots)),
        "features": normal(SIZES["image"], SIZES["input"]),
        "residual": normal(SIZES["image"], SIZES["dim"]),
        "labels": labels,
        "n_way": np.full(n, N_WAY),
        "n_support": np.full(n, SIZES["image"]),
    }


def measure(
    data: Stream | Trajectories, steps: int, *, seed: int, progress: Progress = silent
) -> dict[str, float]:
    """Train, and say how busy training was.

    Returns:
        `seconds` a step, the share of them spent on the model (`busy`), and the most resident
        memory of this process so far, `peak_bytes`. The first step, in which the pool is
        filled, counts as `start_s`.
    """
    jacobian = drift.load("cubic").jacobian
    watched, begun = Watched(data), time.perf_counter()
    started: list[float] = []

    def timed(items: Iterator[int], *, total: int, desc: str) -> Iterator[int]:
        for item in progress(items, total=total, desc=desc):
            started.append(time.perf_counter())
            yield item

    config, generator = DriftConfig(steps=steps), stream(seed, "feeding")
    fit_drift(watched, config, jacobian, generator=generator, progress=timed)
    spent = time.perf_counter() - started[1]
    return {
        "seconds": spent / (steps - 1),
        "busy": 1 - sum(watched.waited_s[1:]) / spent,
        "start_s": started[1] - begun,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }
