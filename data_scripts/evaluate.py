"""Every method on the same tasks of domains that were never seen: one table, with controls."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.evaluation import experiments, methods
from hyperlab.models import belonging, targets

import torch
import typer
from tqdm import tqdm

import report
import script
import study

BATCHES = 128  # of a store, for the mean displacements
NETS = "HyperFlow-L=linear,Jacobian flow=jacobian"


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/held_out"),
    rows: Annotated[Path, typer.Option(help="their folder")] = Path("artifacts/evaluate"),
    data: script.Data = None,
    store: Annotated[str, typer.Option(help="trajectories: adds controls")] = "",
    role: Annotated[str, typer.Option(help="of the domains: tasks/roles.py")] = "held_out",
    protocol: Annotated[str, typer.Option(help="see tasks/protocols.py")] = "variable",
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
    compared: Annotated[str, typer.Option("--methods", help="names; empty: all")] = "",
    nets: Annotated[str, typer.Option(help="name=file or shipped network")] = NETS,
    share: script.Share = "0/1",
    backbone: script.Backbone = "vit_micro",
    image_size: script.ImageSize = 0,
    device: script.Device = "cpu",
) -> None:
    """Goes on where it was stopped; several processes may share it, the last writes the table."""
    place = script.place(device)
    target = targets.load(backbone, image_size=image_size or None).to(place)
    n = script.n_tasks(n_tasks, scale, methods.n_tasks(protocol))
    which = {"role": role, "protocol": protocol, "only": script.words(only), "n_tasks": n}
    which |= {"share": script.share(share), "size": target.image_size, "seed": seed}
    config = experiments.EvalConfig(**which)
    recorded = study.reopen(store, target) if store else None
    paths = recorded and recorded.read(recorded.there[:BATCHES]).to(place)
    learned = methods.Learned(nets=methods.networks(script.words(nets), place), data=paths)
    asked = methods.checked(script.words(compared), learned)
    script.no_effect("--nets", when=not learned.lends(asked), why="no method uses them")
    if methods.OWN in asked:
        kept = rows / f"own-{config.stem}.safetensors"
        own = experiments.own_means(target, config, kept, root=data)
        learned = replace(learned, own=own, own_of=belonging.described(target))
    chosen = methods.named(script.words(compared), learned)
    torch.set_num_threads(1 if config.share[1] > 1 else torch.get_num_threads())
    where = {"folder": rows, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, chosen, config, **where)
    n_rows = config.n_tasks * len(chosen) * len(experiments.chosen(config, data))
    print(report.finish(table, config, n_rows, out))


if __name__ == "__main__":
    script.run(main)
