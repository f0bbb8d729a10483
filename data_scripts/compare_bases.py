"""How many tasks must a learned Jacobian see? Guesses alone, from parts of a store; no drift."""

from functools import cache, partial
from pathlib import Path
from typing import Annotated

from hyperlab import base
from hyperlab.hyperflow import adapt, collect, jacobian
from hyperlab.models import targets
from hyperlab.study import bases, claims, experiments, script

import typer
from tqdm import tqdm


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/bases"),
    folder: Annotated[Path, typer.Option(help="of the networks and rows")] = Path(
        "artifacts/bases"
    ),
    data: script.Data = None,
    n_tasks: script.NTasks = 0,
    steps: Annotated[int, typer.Option(help="of a Jacobian; 0: 1,500, smoke 30")] = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
) -> None:
    """Eleven networks of 4 minutes each on one core, then 4 s a task. Goes on where it stopped."""
    n = script.n_tasks(n_tasks, scale, 20)
    config = jacobian.JacobianConfig(steps=steps or (30 if scale == "smoke" else 1_500))
    target = targets.load("vit_micro")
    opened = collect.reopen(store, target)
    recorded = opened.read()

    @cache
    def looks() -> jacobian.Examples:
        tasks = collect.redrawn(opened, root=data)
        generator = base.stream(seed, "jacobian")
        return jacobian.gather(target, tasks, config, generator=generator, progress=tqdm)

    flows: list[adapt.Method] = [adapt.NoAdaptation()]
    for name, rows in bases.parts(recorded, seed=seed).items():
        path = folder / f"{name.replace(', ', '-').replace(' ', '_')}.safetensors"
        made = {"seed": seed, "progress": tqdm}
        make = partial(bases.network, recorded, looks, rows, config, **made)
        net = bases.kept(path, make, (recorded.of(rows), config, seed))
        flows.append(adapt.HyperFlow(net=net, name=name))
    chosen = {"n_tasks": n, "seed": seed, "only": script.words(only)}
    tasks = experiments.EvalConfig(**chosen)
    where = {"folder": folder, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, flows, tasks, **where)
    print(claims.finish(table, tasks, len(table), out))


if __name__ == "__main__":
    script.run(main)
