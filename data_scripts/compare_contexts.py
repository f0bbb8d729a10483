"""What smaller looks at the support set cost in accuracy, on validation domains; one table."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, choose
from hyperlab.evaluation import experiments
from hyperlab.hyperflow import adapt, jacobian_flow
from hyperlab.models import targets
from hyperlab.tasks import protocols

import typer
from tqdm import tqdm

import report
import script

WHOLE, ROWS = "Jacobian flow", Path("artifacts/contexts")


def main(
    scale: Annotated[str, typer.Option(help="smoke: 2 tasks a domain")] = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/contexts"),
    data: script.Data = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: script.NTasks = 0,
    rows: Annotated[Path, typer.Option(help="folder of each task's rows")] = ROWS,
) -> None:
    """The shipped Jacobian flow. CPU, one core: 20 minutes."""
    draw = choose(protocols.PROTOCOLS, protocol).draw
    if getattr(draw, "keywords", {}).get("n_shot") == 1:
        raise ConfigError("half of one image a class is all of it: take two shots or more")
    which = {"role": "validation", "protocol": protocol, "seed": seed}
    config = experiments.EvalConfig(**which, n_tasks=script.n_tasks(n_tasks, scale, 40))
    where = {"folder": rows, "root": data, "progress": tqdm}
    table = experiments.evaluate(targets.load("vit_micro"), methods(), config, **where)
    print(report.finish(table, config, len(table), out))


def methods() -> list[adapt.Method]:
    """All, half or a quarter of the images, and three ways to the class means."""
    net, none = jacobian_flow.load(), adapt.NoAdaptation()
    flow = adapt.LearnedFlow(net=net, name=WHOLE)
    pushed = replace(flow, push=True, name=f"{WHOLE}, pushed")
    rows = [none, flow, pushed]
    for share, name in ((0.5, "half"), (0.25, "quarter")):
        seen = fewer(flow, share, f"{WHOLE}, {name}, means of seen")
        rows += [
            fewer(none, share, f"no adaptation, {name}"),
            replace(seen, name=f"{WHOLE}, {name}, means of all", means_of_all=True),
            seen,
            fewer(pushed, share, f"{WHOLE}, {name}, pushed"),
        ]
    return [*rows, fewer(adapt.bias_tuning(), 0.25, "bias-tuning, quarter")]


def fewer(method: adapt.Method, share: float, name: str) -> adapt.FewerImages:
    return adapt.FewerImages(method=method, share=share, name=name)


if __name__ == "__main__":
    script.run(main)
