"""Do the learned flows find the end of the fine-tunings they were learned from? One JSON file."""

import itertools
import json
from pathlib import Path
from typing import Annotated

from hyperlab.base import whole_file
from hyperlab.hyperflow import collect
from hyperlab.models import targets
from hyperlab.study import methods, script, training_tasks

import typer
from tqdm import tqdm


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    scale: script.Scale = "laptop",
    out: Annotated[Path, typer.Option(help="to write")] = Path("results/training.json"),
    data: script.Data = None,
    n_tasks: Annotated[
        int, typer.Option(help="every fifth; 0: 120, or the first 2 at smoke")
    ] = 0,
    nets: Annotated[str, typer.Option(help="name=file or shipped network")] = (
        "HyperFlow-L=linear,HyperFlow-C=cubic"
    ),
) -> None:
    """Share of the fall of the support loss, relative error, cosine. CPU, one core: 5 minutes."""
    n, every = script.n_tasks(n_tasks, scale, 120), 1 if scale == "smoke" else 5
    target = targets.load("vit_micro")
    tasks = collect.redrawn(collect.reopen(store, target), root=data)
    table = training_tasks.recover(
        target,
        itertools.islice(tasks, 0, n * every, every),
        methods.networks(script.words(nets)),
        n_tasks=n,
        progress=tqdm,
    )
    numbers = table.drop(columns="task").groupby("method")
    about = {"command": script.command(), "n": n}
    quartiles = numbers.quantile([0.25, 0.5, 0.75]).round(4)
    rows = quartiles.rename_axis(["method", "quantile"]).reset_index().to_dict("records")
    with whole_file(out) as draft:
        draft.write_text(
            json.dumps({"about": about, "quantiles": rows}, indent=1) + "\n",
            encoding="utf-8",
        )
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
