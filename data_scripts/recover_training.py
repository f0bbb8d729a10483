"""Do the learned flows find the end of the fine-tunings they were learned from? One JSON file."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from hyperlab.base import Progress, silent
from hyperlab.evaluation import methods, timing
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.adapt import LearnedFlow
from hyperlab.hyperflow.jacobian_flow import JacobianFlow
from hyperlab.models import targets
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import LabelledImages

import pandas as pd
import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script
import study


def recover(
    target: Target,
    tasks: Iterable[tuple[LabelledImages, Float[Tensor, " knots params"]]],
    nets: Mapping[str, JacobianFlow],
    *,
    n_tasks: int,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Where each flow ends on recorded tasks, against where their fine-tuning ended.

    Args:
        tasks: support set and recorded path, as `collect.redrawn` gives them.

    Columns: task, method, recovered (share of the fall of the plain support loss; fine-tuning: 1),
    error (|theta - theta_tuned| / |theta_tuned - theta0|; no adaptation: 1), cosine, length.
    """
    rows = []
    for number, (support, path) in enumerate(progress(tasks, total=n_tasks, desc="tasks")):
        start, end = path[0], path[-1]
        first, last = (target.support_loss(theta, support) for theta in (start, end))
        for name, net in nets.items():
            theta = LearnedFlow(net=net)(target, support)
            fall = first - target.support_loss(theta, support)
            found = {"task": number, "method": name, "recovered": fall / (first - last)}
            rows.append(found | nearness(theta - start, end - start))
    return pd.DataFrame(rows)


def nearness(moved: Tensor, tuned: Tensor) -> dict[str, float]:
    """Relative error, cosine and relative length of a displacement."""
    return {
        "error": float((moved - tuned).norm() / tuned.norm()),
        "cosine": float(torch.cosine_similarity(moved, tuned, dim=0)),
        "length": float(moved.norm() / tuned.norm()),
    }


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    scale: script.Scale = "laptop",
    out: Annotated[Path, typer.Option(help="to write")] = Path("results/training.json"),
    data: script.Data = None,
    n_tasks: Annotated[
        int, typer.Option(help="every fifth; 0: 120, or the first 2 at smoke")
    ] = 0,
    nets: Annotated[str, typer.Option(help="name=file or shipped network")] = (
        "Jacobian flow L=linear,Jacobian flow C=cubic"
    ),
) -> None:
    """Share of the fall of the support loss, relative error, cosine. CPU, one core: 5 minutes."""
    n, every = script.n_tasks(n_tasks, scale, 120), 1 if scale == "smoke" else 5
    target = targets.load("vit_micro")
    tasks = collect.redrawn(collect.reopen(store, target), root=data)
    table = recover(
        target,
        itertools.islice(tasks, 0, n * every, every),
        methods.networks(script.words(nets)),
        n_tasks=n,
        progress=tqdm,
    )
    numbers = table.drop(columns="task").groupby("method")
    about = {"command": timing.command(), "n": n}
    quartiles = numbers.quantile([0.25, 0.5, 0.75]).round(4)
    rows = quartiles.rename_axis(["method", "quantile"]).reset_index().to_dict("records")
    study.write(out, {"about": about, "quantiles": rows})
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
