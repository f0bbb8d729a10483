"""Which parameters move: gain of tuning and of the flow against how many numbers there are."""

from pathlib import Path
from typing import Annotated

from hyperlab.hyperflow import adapt, drift
from hyperlab.models import targets
from hyperlab.study import claims, experiments, script, subsets

import torch
import typer
from tqdm import tqdm


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/subsets"),
    rows: Annotated[Path, typer.Option(help="folder of each task's rows")] = Path(
        "artifacts/subsets"
    ),
    data: script.Data = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "5-way 5-shot",
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
    share: script.Share = "0/1",
) -> None:
    """Held-out domains; CPU, one core: 10 seconds a task. Goes on where it was stopped."""
    n = script.n_tasks(n_tasks, scale, 20)
    where = {"only": script.words(only), "share": script.share(share), "seed": seed}
    config = experiments.EvalConfig(protocol=protocol, n_tasks=n, **where)
    target, net = targets.load("vit_micro"), drift.load("cubic")
    moving = subsets.methods(target, net)
    compared = [adapt.NoAdaptation(), *moving]
    if config.share[1] > 1:
        torch.set_num_threads(1)
    more = {"folder": rows, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, compared, config, **more)
    moved = {m.name: subsets.n_moved(target, m) for m in moving}
    sizes = {name: subsets.network_size(net.shape, n) for name, n in moved.items()}
    n_rows = config.n_tasks * len(compared) * len(experiments.chosen(config, data))
    facts = {"moved": moved, "numbers of a drift network": sizes}
    print(claims.finish(table, config, n_rows, out, facts))


if __name__ == "__main__":
    script.run(main)
