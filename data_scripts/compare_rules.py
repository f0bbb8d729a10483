"""L or C, and how far: a rule that picks from the support set alone, fixed choices, the oracle."""

from pathlib import Path
from typing import Annotated

from hyperlab.hyperflow import adapt, drift
from hyperlab.models import targets
from hyperlab.study import claims, experiments, rules, script

import typer
from tqdm import tqdm


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/rules"),
    data: script.Data = None,
    role: Annotated[str, typer.Option(help="of the domains: tasks/roles.py")] = "held_out",
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
) -> None:
    """CPU, one core: five seconds a task."""
    n = script.n_tasks(n_tasks, scale, 20)
    config = experiments.EvalConfig(
        role=role, protocol=protocol, seed=seed, n_tasks=n, only=script.words(only)
    )
    linear, cubic = drift.load("linear"), drift.load("cubic")
    euler = {"method": "euler", "steps": 1}
    candidates = [
        adapt.NoAdaptation(),
        adapt.HyperFlow(net=linear, name="HyperFlow-L", **euler),
        adapt.HyperFlow(net=cubic, name="HyperFlow-C to t = 0.5", length=0.5, steps=5),
        adapt.HyperFlow(net=cubic, name="HyperFlow-C"),
        adapt.HyperFlow(net=cubic, name="HyperFlow-C to t = 2", length=2.0, steps=20),
    ]
    target = targets.load("vit_micro")
    table, picked = rules.pick(target, candidates, config, root=data, progress=tqdm)
    often = picked.groupby(["rule", "picked"]).size().unstack(fill_value=0)
    claims.write(table, out, claims.about(config) | {"picked": often.to_dict("index")})
    print(f"wrote {out}.json, .md and .html")


if __name__ == "__main__":
    script.run(main)
