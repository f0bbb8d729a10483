"""Compare solvers, steps and lengths of Jacobian flow on validation domains; write one table."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated

import report
from hyperlab.base import ConfigError
from hyperlab.evaluation import experiments
from hyperlab.hyperflow import adapt, jacobian_flow
from hyperlab.models import targets

import typer
from tqdm import tqdm

import script

NETS = {"C": "cubic", "L": "linear"}
GRID = (
    "C euler 20,C euler 40,C euler 160,C chebyshev 4,C chebyshev 8,C chebyshev 10,C chebyshev 16,"
    "C chebyshev 10 x 0.75,C chebyshev 15 x 1.5,C chebyshev 20 x 2,L euler 1,L euler 10,L euler 40,"
    "L euler 10 x 2"
)
loaded = cache(jacobian_flow.load)
SETTING = re.compile(r"([CL]) (\w+) (\d+)(?: x ([\d.]+))?")


def main(
    scale: Annotated[str, typer.Option(help="smoke: 2 tasks a domain")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/solvers"),
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: script.NTasks = 0,
    grid: Annotated[str, typer.Option(help="networks, solvers, steps, lengths")] = GRID,
) -> None:
    """The shipped drift networks C and L. CPU, one core: 20 minutes."""
    n = script.n_tasks(n_tasks, scale, 40)
    which = {"role": "validation", "protocol": protocol, "n_tasks": n, "seed": seed}
    config = experiments.EvalConfig(**which)
    methods = [adapt.NoAdaptation(), *map(flow, grid.split(","))]
    target = targets.load("vit_micro")
    report.tabulate(target, methods, config, out, root=data, progress=tqdm)
    print(f"wrote {out}.json and {out}.md")


def flow(setting: str) -> adapt.Method:
    """Jacobian flow as in "C chebyshev 20 x 2": network, solver, steps, length of the drift."""
    if not (found := SETTING.fullmatch(setting.strip())):
        raise ConfigError(
            f'--grid takes e.g. "C euler 40,C chebyshev 20 x 2", got {setting!r}'
        )
    name, method, steps, length = found.groups()
    net, options = loaded(NETS[name]), {"steps": int(steps), "method": method}
    return adapt.LearnedFlow(net=net, name=setting, length=float(length or 1), **options)


if __name__ == "__main__":
    script.run(main)
