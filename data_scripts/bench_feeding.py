"""Train a drift network from a store larger than memory; measure memory and waiting."""

import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from hyperlab import executor
from hyperlab.base import Progress, choose, silent, stream
from hyperlab.hyperflow.training import DriftConfig, fit_drift
from hyperlab.hyperflow.trajectories import (
    Stream,
    Trajectories,
    TrajectoryStore,
)

import numpy as np
import torch
import typer
from tqdm.auto import tqdm

import script
import study

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
    names = ("domain", "styled", "perturbed", "diverged")
    flags = {name: np.zeros(n) for name in names}
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
    watched, begun = Watched(data), time.perf_counter()
    started: list[float] = []

    def timed(items: Iterator[int], *, total: int, desc: str) -> Iterator[int]:
        for item in progress(items, total=total, desc=desc):
            started.append(time.perf_counter())
            yield item

    config, generator = DriftConfig(steps=steps), stream(seed, "feeding")
    fit_drift(watched, config, generator=generator, progress=timed)
    spent = time.perf_counter() - started[1]
    return {
        "seconds": spent / (steps - 1),
        "busy": 1 - sum(watched.waited_s[1:]) / spent,
        "start_s": started[1] - begun,
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


TASKS = {"smoke": 80, "laptop": 800, "paper": 20_000}
STEPS = {"smoke": 5, "laptop": 60, "paper": 700}  # paper: more than once through the store


def make(path: str, n_tasks: int) -> None:
    """The made-up store; in a process of its own, whose memory does not count."""
    made_up(Path(path), n_tasks, seed=0, progress=tqdm)


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    memory: Annotated[float, typer.Option(help="of the pool, GiB")] = 1.0,
    folder: Annotated[
        Path | None, typer.Option(help="of the store; empty: a new one")
    ] = None,
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "results/bench_feeding.json"
    ),
) -> None:
    """Seconds a step, the share of them spent on the model, and the most resident memory."""
    n, steps = choose(TASKS, scale), choose(STEPS, scale)
    with tempfile.TemporaryDirectory() as new:
        path = str((folder or Path(new)) / "store")
        with executor.processes(make, path, 1) as pool:
            pool.submit(executor.settled, n).result()
        store = TrajectoryStore.open(path)
        data = Stream(store, memory_bytes=int(memory * 2**30))
        script.spare_a_core()
        streamed = measure(data, steps, seed=seed, progress=tqdm)
        whole = next(data.batches(min(n // 2, 512), torch.Generator()))
        held = measure(whole, min(steps, 60), seed=seed, progress=tqdm)
        facts = {"trajectories": n, "bytes": store.n_bytes, **SIZES, "steps": steps}
    parts = {"store": facts, "streamed": streamed, "some of it in memory": held}
    study.write(out, study.about("torch") | parts)
    print(f"wrote {out}: {streamed}")


if __name__ == "__main__":
    script.run(main)
