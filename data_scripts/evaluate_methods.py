"""Evaluate every method on the same tasks of held-out domains; write_table.py makes the table."""

from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from hyperlab.hyperflow import drift, trajectories
from hyperlab.models import targets
from hyperlab.study import claims, experiments, script


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: 2 tasks a domain; else --n-tasks")
    ] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="folder of the rows")] = Path(
        "artifacts/evaluate"
    ),
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    store: Annotated[Path | None, typer.Option(help="trajectories; adds the flows")] = None,
    role: Annotated[str, typer.Option(help="held_out or validation")] = "held_out",
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: Annotated[int, typer.Option(help="per domain")] = 200,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
    length: Annotated[float, typer.Option(help="factor on the drift")] = 1.0,
    share: Annotated[
        str, typer.Option(help="k/n: every n-th task from the k-th on")
    ] = "0/1",
) -> None:
    """CPU, two processes: about a second a task. Goes on where it was stopped."""
    k, n = map(int, share.split("/"))
    config = experiments.EvalConfig(
        role=role,
        protocol=protocol,
        seed=seed,
        n_tasks=2 if scale == "smoke" else n_tasks,
        only=tuple(filter(None, only.split(","))),
        share=(k, n),
    )
    methods = claims.teachers(protocol)
    if store:
        nets = {"HyperFlow-L": drift.load("linear"), "HyperFlow-C": drift.load("cubic")}
        methods += claims.learned(trajectories.Store.open(store).read(), nets, length)
    if n > 1:
        torch.set_num_threads(1)
    path = out / f"{claims.stem(role, protocol, seed)}-{k}of{n}.jsonl"
    target = targets.load("vit_micro")
    experiments.evaluate(target, methods, config, path=path, root=data, progress=tqdm)
    print(f"wrote {path}")


if __name__ == "__main__":
    script.run(main)
