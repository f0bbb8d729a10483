"""Compare solvers, steps and lengths of Jacobian flow on validation domains; write one table."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError
from hyperlab.evaluation import experiments, methods
from hyperlab.hyperflow import adapt
from hyperlab.models import targets

import typer
from tqdm import tqdm

import report
import script

GRID = (
    "jacobian euler 20,jacobian euler 50,jacobian euler 160,jacobian heun 25,jacobian chebyshev 5,"
    "jacobian chebyshev 10,jacobian chebyshev 20,jacobian chebyshev 10 x 0.75,"
    "jacobian chebyshev 20 x 1.5"
)
loaded = cache(methods.network)
SETTING = re.compile(r"(\S+) (\w+) (\d+)(?: x ([\d.]+))?")


def main(
    scale: Annotated[str, typer.Option(help="smoke: 2 tasks a domain")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/solvers"),
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: script.NTasks = 0,
    grid: Annotated[str, typer.Option(help="networks, solvers, steps, lengths")] = GRID,
) -> None:
    """Shipped drift networks, or those in files. CPU, one core: 20 minutes."""
    n = script.n_tasks(n_tasks, scale, 40)
    which = {"role": "validation", "protocol": protocol, "n_tasks": n, "seed": seed}
    config = experiments.EvalConfig(**which)
    compared = [adapt.NoAdaptation(), *map(flow, grid.split(","))]
    target = targets.load("vit_micro")
    report.tabulate(target, compared, config, out, root=data, progress=tqdm)
    print(f"wrote {out}.json and {out}.md")


def flow(setting: str) -> adapt.Method:
    """A flow as in "jacobian chebyshev 20 x 2": network, solver, steps, length of the drift."""
    if not (found := SETTING.fullmatch(setting.strip())):
        raise ConfigError(
            f'--grid takes e.g. "jacobian euler 40,cubic heun 20 x 2", got {setting!r}'
        )
    name, method, steps, length = found.groups()
    net, options = loaded(name), {"steps": int(steps), "method": method}
    return adapt.LearnedFlow(net=net, name=setting, length=float(length or 1), **options)


if __name__ == "__main__":
    script.run(main)
