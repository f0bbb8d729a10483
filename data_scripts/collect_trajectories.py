"""Record how many tasks are fine-tuned: the data of the drift network. Resumes where it stopped."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab import base
from hyperlab.hyperflow import collect
from hyperlab.models import targets
from hyperlab.study import script


def main(
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="the store, a folder")] = Path(
        "artifacts/trajectories"
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda; auto: what there is")] = "auto",
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    role: Annotated[
        str, typer.Option(help="of the domains, see tasks/roles.py")
    ] = "trajectories",
    protocol: Annotated[str, typer.Option(help="of the episodes; empty: the scale's")] = "",
    n_tasks: Annotated[int, typer.Option(help="trajectories; 0: the scale's")] = 0,
    share: Annotated[
        str, typer.Option(help="k/n: every n-th batch from the k-th on")
    ] = "0/1",
) -> None:
    """CPU, two cores: about one task a second at the laptop scale's task sizes."""
    config = replace(collect.CollectConfig.at(scale), role=role, seed=seed)
    if protocol:
        config = replace(config, protocol=protocol, mixed=0.0)
    if role != "trajectories":
        config = replace(config, styled=0.0)
    config = replace(config, n_tasks=n_tasks or config.n_tasks)
    place = base.default_device() if device == "auto" else device
    target = targets.load("vit_micro").to(place)
    k, n = map(int, share.split("/"))
    store = collect.collect(target, out, config, share=(k, n), root=data, progress=tqdm)
    print(f"wrote {out}: {config.n_tasks} tasks, {len(store.missing)} batches missing")


if __name__ == "__main__":
    script.run(main)
