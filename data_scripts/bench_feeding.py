"""Train a drift network from a store larger than memory; measure memory and waiting."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

from hyperlab import executor
from hyperlab.base import choose, whole_file
from hyperlab.hyperflow.trajectories import Stream, TrajectoryStore, spare_a_core
from hyperlab.study import feeding, script, timing

import torch
import typer
from tqdm.auto import tqdm

TASKS = {"smoke": 80, "laptop": 800, "paper": 20_000}
STEPS = {"smoke": 5, "laptop": 60, "paper": 700}  # paper: more than once through the store


def make(path: str, n_tasks: int) -> None:
    """The made-up store; in a process of its own, whose memory does not count."""
    feeding.made_up(Path(path), n_tasks, seed=0, progress=tqdm)


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
        spare_a_core()
        streamed = feeding.measure(data, steps, seed=seed, progress=tqdm)
        whole = next(data.batches(min(n // 2, 512), torch.Generator()))
        held = feeding.measure(whole, min(steps, 60), seed=seed, progress=tqdm)
        facts = {"trajectories": n, "bytes": store.n_bytes, **feeding.SIZES, "steps": steps}
    about = {"command": script.command(), "machine": timing.machine(), "store": facts}
    about |= {"streamed": streamed, "some of it in memory": held}
    with whole_file(out) as draft:
        draft.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out}: {streamed}")


if __name__ == "__main__":
    script.run(main)
