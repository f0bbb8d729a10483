"""How many tasks must a learned Jacobian see? Jacobian flows from parts of a store.

A part is a choice of recorded tasks: of few or many domains, few or many tasks, with or without a
style of their own, writing alone or everything but writing. Each part gets a learned Jacobian of
its own, trained for the same number of steps, and a pace; nothing else differs. No drift is trained
on the paths, so this says nothing about what a network of the paper's kind needs.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Annotated

from hyperlab import base, checkpoint
from hyperlab.base import ConfigError, Progress, silent, stream
from hyperlab.evaluation import claims, experiments
from hyperlab.hyperflow import adapt, collect, jacobian, jacobian_flow
from hyperlab.hyperflow.jacobian import Examples, JacobianConfig, fit_jacobian
from hyperlab.hyperflow.jacobian_flow import JacobianFlow
from hyperlab.hyperflow.trajectories import Trajectories
from hyperlab.identity import checksum
from hyperlab.models import targets

import torch
import typer
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

import script

WRITING = ("omniglot", "characters", "runes", "cursive")
Rows = Int[Tensor, " tasks"]


def parts(data: Trajectories, *, few: int = 40, seed: int = 0) -> dict[str, Rows]:
    """Name -> the tasks of a part.

    Args:
        few: tasks of the smallest parts; a domain stands alone if it has as many.

    Raises:
        ConfigError: the store holds too little writing, too few tasks with or without a style,
            or one large domain: two parts would be the same.
    """
    order = torch.randperm(len(data), generator=stream(seed, "bases"))
    by_domain = [order[data.domain[order] == d] for d in range(len(data.domains))]
    large = [d for d, rows in enumerate(by_domain) if len(rows) >= few]
    written = torch.tensor([name in WRITING for name in data.domains])[data.domain[order]]
    plain = order[~data.styled[order]]
    n, m, styled = int(written.sum()), len(plain), int(data.styled.sum())
    if len(large) < 2 or min(n, m) < 1 or n > len(data) // 2 or styled < m:
        raise ConfigError(
            f"the parts need two domains of {few} tasks, writing, and as many tasks with a "
            f"style as without; the store has {len(data)} tasks, {n} of writing, {m} without "
            f"style, {len(large)} large domains"
        )
    alone = {f"{data.domains[d]} alone, {few}": by_domain[d][:few] for d in large[-3:]}
    spread_over = large[-5:]
    spread = torch.cat([by_domain[d][: -(-few // len(spread_over))] for d in spread_over])[
        :few
    ]
    return {
        **alone,
        f"{len(spread_over)} domains, {few}": spread,
        f"all domains, {few}": order[:few],
        f"all domains, {n}": order[:n],
        f"writing, {n}": order[written],
        f"no writing, {n}": order[~written][:n],
        f"without styles, {m}": plain,
        f"with styles, {m}": order[data.styled[order]][:m],
        f"all domains, {len(data)}": order,
    }


def images_of(data: Trajectories, examples: Examples, rows: Rows) -> Examples:
    """What was seen of some tasks: every task was looked at equally often, one after another."""
    looks = len(examples.delta) // len(data)
    wanted = torch.zeros(len(data), dtype=torch.bool)
    wanted[rows] = True
    keep = wanted.repeat_interleave(looks)[examples.look]
    kept = (x[keep] for x in examples[:4])
    return Examples(*kept, examples.delta, examples.look[keep], examples.target)


def network(
    data: Trajectories,
    looks: Callable[[], Examples],
    rows: Rows,
    config: JacobianConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> JacobianFlow:
    """The drift network of a part.

    Args:
        looks: gives what was seen of all tasks of `data`, see `jacobian.gather`.
    """
    generator = stream(seed, "bases", "network")
    settings = {"generator": generator, "token_size": data.token_size}
    seen = images_of(data, looks(), rows)
    learned = fit_jacobian(seen, config, **settings, progress=progress)
    return jacobian_flow.fit_paces(data.of(rows), learned)


def kept(
    path: Path, make: Callable[[], JacobianFlow], made_of: Sequence[object]
) -> JacobianFlow:
    """The network at `path`, made and saved first where there is none that was made of just this.

    Args:
        made_of: what the network depends on: recorded tasks, configuration, seed.
    """
    mark = checksum(*made_of)
    if not path.exists() or checkpoint.about(path).get("made_of") != mark:
        jacobian_flow.save(make().cpu(), path, {"part": path.stem, "made_of": mark})
    return jacobian_flow.load(path)


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
    for name, rows in parts(recorded, seed=seed).items():
        path = folder / f"{name.replace(', ', '-').replace(' ', '_')}.safetensors"
        settings = {"seed": seed, "progress": tqdm}
        make = partial(network, recorded, looks, rows, config, **settings)
        net = kept(path, make, (recorded.of(rows), config, seed))
        flows.append(adapt.LearnedFlow(net=net, name=name))
    chosen = {"n_tasks": n, "seed": seed, "only": script.words(only)}
    tasks = experiments.EvalConfig(**chosen)
    where = {"folder": folder, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, flows, tasks, **where)
    print(claims.finish(table, tasks, len(table), out))


if __name__ == "__main__":
    script.run(main)
