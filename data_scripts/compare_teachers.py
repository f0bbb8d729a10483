"""Compare step sizes and numbers of steps of bias-tuning on validation domains; write one table."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab.base import ConfigError
from hyperlab.hyperflow import adapt
from hyperlab.models import targets
from hyperlab.study import claims, experiments, script


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: 2 tasks a domain; else --n-tasks")
    ] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/teachers"),
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "5-way 5-shot",
    n_tasks: Annotated[int, typer.Option(help="per domain")] = 30,
    grid: Annotated[
        str, typer.Option(help="steps x learning rate, with commas")
    ] = "20x10,25x8,30x8,30x10,40x8",
    backbone: Annotated[Path, typer.Option(help="weights of vit_micro")] = targets.SHIPPED,
) -> None:
    """Plain gradient steps of the qkv biases. CPU, two cores: 6 minutes."""
    config = experiments.EvalConfig(
        role="validation",
        protocol=protocol,
        seed=seed,
        n_tasks=2 if scale == "smoke" else n_tasks,
    )
    methods = [adapt.NoAdaptation(), *map(tuning, grid.split(","))]
    target = targets.load("vit_micro", weights=backbone)
    claims.tabulate(target, methods, config, out, root=data, progress=tqdm)
    print(f"wrote {out}.json and {out}.md")


def tuning(pair: str) -> adapt.Method:
    """Bias-tuning with the steps and the learning rate of e.g. "20x10"."""
    try:
        steps, lr = int(pair.split("x")[0]), float(pair.split("x")[1])
    except (ValueError, IndexError):
        raise ConfigError(
            f"--grid takes e.g. 20x10,40x8 (steps x rate), got {pair!r}"
        ) from None
    return replace(adapt.bias_tuning(steps=steps, lr=lr), name=f"{steps} steps of {lr:g}")


if __name__ == "__main__":
    script.run(main)
