"""Evaluate every method on the same tasks of held-out domains; `--report` writes the table."""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from tqdm import tqdm

from hyperlab.hyperflow import drift, trajectories
from hyperlab.models import targets
from hyperlab.study import claims, experiments


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: 2 tasks a domain; else --n-tasks")
    ] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/held_out"),
    rows: Annotated[Path, typer.Option(help="folder of rows")] = Path("artifacts/evaluate"),
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
    report: Annotated[
        bool, typer.Option(help="write the table from the rows there are")
    ] = False,
) -> None:
    """CPU: about a second a task for bias-tuning, half a second for all other methods."""
    k, n = map(int, share.split("/"))
    path = rows / f"{role}-{protocol.replace(' ', '-')}-{seed}-{k}of{n}.jsonl"
    if report:
        paths = sorted(rows.glob(f"{role}-{protocol.replace(' ', '-')}-{seed}-*.jsonl"))
        table = pd.DataFrame([row for p in paths for row in experiments.read_rows(p)])
        command = " ".join(["python", *sys.argv])
        about = {"command": command, "role": role, "protocol": protocol, "seed": seed}
        claims.write(table, out, {**about, "length": length})
        print(f"wrote {out}.json and {out}.md ({len(table)} rows)")
        return
    config = experiments.EvalConfig(
        role=role, protocol=protocol, seed=seed, n_tasks=2 if scale == "smoke" else n_tasks,
        only=tuple(filter(None, only.split(","))), share=(k, n),
    )  # fmt: skip
    methods = claims.teachers()
    if store:
        nets = {"HyperFlow-L": drift.load("linear"), "HyperFlow-C": drift.load("cubic")}
        methods += claims.learned(trajectories.Store.open(store).read(), nets, length)
    torch.set_num_threads(1 if n > 1 else torch.get_num_threads())
    target = targets.load("vit_micro")
    experiments.evaluate(target, methods, config, path=path, root=data, progress=tqdm)
    print(f"wrote {path}")


if __name__ == "__main__":
    typer.run(main)
