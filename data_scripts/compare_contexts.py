"""What smaller looks at the support set cost in accuracy, on validation domains; one table."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.hyperflow import adapt, drift
from hyperlab.hyperflow.adapt import FewerImages, HyperFlow, NoAdaptation
from hyperlab.models import targets
from hyperlab.study import claims, experiments, script

import typer
from tqdm import tqdm

WHOLE, ROWS = "HyperFlow-C", Path("artifacts/contexts")


def main(
    scale: Annotated[str, typer.Option(help="smoke: 2 tasks a domain")] = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/contexts"),
    data: script.Data = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: script.NTasks = 0,
    rows: Annotated[Path, typer.Option(help="folder of each task's rows")] = ROWS,
) -> None:
    """The shipped drift network C. CPU, one core: 20 minutes."""
    n = script.n_tasks(n_tasks, scale, 40)
    which = {"role": "validation", "protocol": protocol, "n_tasks": n, "seed": seed}
    config = experiments.EvalConfig(**which)
    target = targets.load("vit_micro")
    where = {"folder": rows, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, methods(), config, **where)
    print(claims.finish(table, config, len(table), out))


def methods() -> list[adapt.Method]:
    """All, half or a quarter of the images, and three ways to the class means."""
    net, none = drift.load("cubic"), NoAdaptation()
    flow, pushed = HyperFlow(net=net, name=WHOLE), HyperFlow(net=net, push=True)
    rows = [none, flow, replace(pushed, name=f"{WHOLE}, pushed")]
    for share, name in ((0.5, "half"), (0.25, "quarter")):
        rows += [
            fewer(none, share, f"no adaptation, {name}"),
            fewer(flow, share, f"{WHOLE}, {name}, means of all", means_of_all=True),
            fewer(flow, share, f"{WHOLE}, {name}, means of seen"),
            fewer(pushed, share, f"{WHOLE}, {name}, pushed"),
        ]
    return [*rows, fewer(adapt.bias_tuning(), 0.25, "bias-tuning, quarter")]


def fewer(
    method: adapt.Method, share: float, name: str, *, means_of_all: bool = False
) -> FewerImages:
    return FewerImages(method=method, share=share, name=name, means_of_all=means_of_all)


if __name__ == "__main__":
    script.run(main)
