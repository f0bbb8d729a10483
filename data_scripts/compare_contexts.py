"""What smaller looks at the support set cost in accuracy, on validation domains; one table."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab.hyperflow import adapt, drift
from hyperlab.hyperflow.adapt import FewerImages, HyperFlow, NoAdaptation
from hyperlab.models import targets
from hyperlab.study import claims, experiments, script

WHOLE = "HyperFlow-C"


def main(
    scale: Annotated[str, typer.Option(help="smoke: 2 tasks a domain")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/contexts"),
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: Annotated[int, typer.Option(help="per domain")] = 40,
    rows: Annotated[Path, typer.Option(help="folder of each task's rows")] = Path(
        "artifacts/contexts"
    ),
) -> None:
    """The shipped drift network C. CPU, one core: 20 minutes."""
    sizes = {"n_tasks": 2 if scale == "smoke" else n_tasks, "seed": seed}
    config = experiments.EvalConfig(role="validation", protocol=protocol, **sizes)
    target = targets.load("vit_micro")
    where = {"folder": rows, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, methods(), config, **where)
    print(claims.finish(table, config, len(table), out))


def methods() -> list[adapt.Method]:
    """All, half or a quarter of the images, and three ways to the class means."""
    net, none = drift.load("cubic"), NoAdaptation()
    flow, pushed = HyperFlow(net=net, name=WHOLE), HyperFlow(net=net, push=True)
    rows = [none, flow, fewer(pushed, 1.0, f"{WHOLE}, pushed")]
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
