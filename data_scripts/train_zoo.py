"""Train a zoo: many small networks that differ in their seed, or one run's last steps. Resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.study import script
from hyperlab.weights import zoo_store
from hyperlab.weights.recipes import RECIPES
from hyperlab.weights.zoo import TailConfig, ZooConfig

import typer
from tqdm import tqdm


def main(
    dataset: Annotated[str, typer.Option(help=f"one of {', '.join(RECIPES)}")] = "digits",
    scale: script.Scale = "laptop",
    seed: Annotated[int, typer.Option(help="of the first network")] = 0,
    n_networks: Annotated[int, typer.Option(help="seeds; 0: the scale's")] = 0,
    epochs: Annotated[str, typer.Option(help="kept, e.g. 6,7,8; empty: the scale's")] = "",
    single_run: Annotated[int, typer.Option(help="checkpoints of one run; 0: none")] = 0,
    out: Annotated[str, typer.Option(help="the store; empty: artifacts/zoo_DATASET")] = "",
    ship: Annotated[
        Path | None, typer.Option(help="half-size file", dir_okay=False)
    ] = None,
    device: script.Device = "auto",
    data: script.Data = None,
    share: script.Share = "0/1",
    workers: script.Workers = 0,
    scheduler: script.Scheduler = "",
) -> None:
    """Seconds to minutes; 100 networks at laptop scale are some minutes on two CPU cores."""
    place = script.place("cpu" if scheduler else device)  # a worker uses its own
    executor = script.executor(share, workers, scheduler, place)
    script.no_effect("--n-networks", "--epochs", when=single_run, why="of one run's tail")
    config = replace(ZooConfig.at(scale, dataset), seed=seed)
    if epochs:
        config = replace(config, epochs=script.numbers(epochs, "--epochs"))
    if single_run:
        config = replace(config, n_networks=1, tail=TailConfig(n=single_run))
    elif n_networks:
        config = replace(config, n_networks=n_networks)
    path = out or f"artifacts/zoo_{dataset}" + ("_single_run" if single_run else "")
    how = {"executor": executor, "root": data, "device": place, "progress": tqdm}
    store = zoo_store.train_zoo(path, config, **how)
    counts = f"{len(store.missing)} groups missing, {store.n_diverged} networks diverged"
    if not store.missing:
        zoo = store.read()
        counts += f", test accuracy {zoo.accuracy[:, -1].mean():.3f} at the end"
        if ship:
            about = {"command": script.command(), "domains": dataset}
            zoo_store.save_zoo(zoo, ship, half=True, about=about)
    elif ship:
        counts += f"; {ship} is not written before all groups are there"
    print(f"wrote {path}: {config.n_networks} networks, {counts}")


if __name__ == "__main__":
    script.run(main)
