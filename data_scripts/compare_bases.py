"""Which tasks must be recorded? Flows made from parts of one store, on domains never seen."""

from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab import base
from hyperlab.hyperflow import adapt, collect, jacobian, trajectories
from hyperlab.models import targets
from hyperlab.study import bases, claims, experiments, script


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/bases"),
    folder: Annotated[Path, typer.Option(help="of the networks and rows")] = Path(
        "artifacts/bases"
    ),
    data: script.Data = None,
    n_tasks: Annotated[int, typer.Option(help="per domain, of the table")] = 20,
    steps: Annotated[int, typer.Option(help="of each learned Jacobian")] = 1_500,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
) -> None:
    """Eleven networks of 4 minutes each on one core, then 4 s a task. Goes on where it stopped."""
    config = jacobian.JacobianConfig(steps=30 if scale == "smoke" else steps)
    recorded, target = (
        trajectories.TrajectoryStore.open(store).read(),
        targets.load("vit_micro"),
    )

    @cache
    def looks() -> jacobian.Examples:
        tasks = collect.redrawn(trajectories.TrajectoryStore.open(store), root=data)
        generator = base.stream(seed, "jacobian")
        return jacobian.gather(target, tasks, config, generator=generator, progress=tqdm)

    flows: list[adapt.Method] = [adapt.NoAdaptation()]
    for name, rows in bases.parts(recorded, seed=seed).items():
        path = folder / f"{name.replace(', ', '-').replace(' ', '_')}.safetensors"
        made = {"seed": seed, "progress": tqdm}
        make = partial(bases.network, recorded, looks, rows, config, **made)
        flows.append(adapt.HyperFlow(net=bases.kept(path, make), name=name))
    n = 2 if scale == "smoke" else n_tasks
    chosen = {"n_tasks": n, "seed": seed, "only": script.words(only)}
    tasks = experiments.EvalConfig(**chosen)
    where = {"folder": folder, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, flows, tasks, **where)
    print(claims.finish(table, tasks, len(table), out))


if __name__ == "__main__":
    script.run(main)
