"""Compare step sizes and numbers of steps of gradient methods on validation domains; one table."""

from pathlib import Path
from typing import Annotated

from hyperlab.evaluation import experiments, methods
from hyperlab.hyperflow import adapt
from hyperlab.models import targets

import typer
from tqdm import tqdm

import report
import script


def main(
    scale: Annotated[str, typer.Option(help="smoke: 2 tasks a domain")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/teachers"),
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "5-way 5-shot",
    n_tasks: script.NTasks = 0,
    grid: Annotated[
        str, typer.Option(help="[method] steps x rate [adam], with commas")
    ] = "20x10,25x8,30x8,30x10,40x8",
    backbone: Annotated[Path, typer.Option(help="weights of vit_micro")] = targets.SHIPPED,
) -> None:
    """Gradient steps of the qkv biases, or of another subset. CPU, two cores: 6 minutes."""
    config = experiments.EvalConfig(
        role="validation",
        protocol=protocol,
        seed=seed,
        n_tasks=script.n_tasks(n_tasks, scale, 30),
    )
    compared = [adapt.NoAdaptation(), *map(methods.tuning, grid.split(","))]
    target = targets.load("vit_micro", weights=backbone)
    report.tabulate(target, compared, config, out, root=data, progress=tqdm)
    print(f"wrote {out}.json and {out}.md")


if __name__ == "__main__":
    script.run(main)
