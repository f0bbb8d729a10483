"""Train a zoo: many small networks that differ in their seed, or one run's last steps. Resumes."""

from dataclasses import replace
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab.base import ConfigError
from hyperlab.study import script
from hyperlab.weights import zoo_store
from hyperlab.weights.recipes import RECIPES
from hyperlab.weights.zoo import TailConfig, ZooConfig


def main(
    dataset: Annotated[str, typer.Option(help=f"one of {', '.join(RECIPES)}")] = "digits",
    scale: script.Scale = "laptop",
    seed: Annotated[int, typer.Option(help="of the first network")] = 0,
    n_networks: Annotated[int, typer.Option(help="seeds; 0: the scale's")] = 0,
    epochs: Annotated[str, typer.Option(help="kept, e.g. 6,7,8; empty: the scale's")] = "",
    single_run: Annotated[
        int, typer.Option(help="checkpoints of one run's tail; 0: seeds")
    ] = 0,
    out: Annotated[str, typer.Option(help="the store; empty: artifacts/zoo_DATASET")] = "",
    ship: Annotated[str, typer.Option(help="also as one half-precision file")] = "",
    device: script.Device = "auto",
    data: script.Data = None,
    share: script.Share = "0/1",
    workers: script.Workers = 0,
    scheduler: script.Scheduler = "",
) -> None:
    """Seconds to minutes; 100 networks at laptop scale are some minutes on two CPU cores."""
    place = script.place("cpu" if scheduler else device)  # a worker uses its own
    config = replace(ZooConfig.at(scale, dataset), seed=seed)
    if epochs:
        if not all(word.isdigit() for word in script.words(epochs)):
            raise ConfigError(f"epochs are numbers such as 6,7,8; got {epochs!r}")
        config = replace(config, epochs=tuple(map(int, script.words(epochs))))
    if single_run:
        config = replace(config, n_networks=1, tail=TailConfig(n=single_run))
    elif n_networks:
        config = replace(config, n_networks=n_networks)
    path = out or f"artifacts/zoo_{dataset}" + ("_single_run" if single_run else "")
    crew = script.crew(share, workers, scheduler, place)
    how = {"crew": crew, "root": data, "device": place, "progress": tqdm}
    store = zoo_store.train_zoo(path, config, **how)
    counts = f"{len(store.missing)} groups missing, {store.n_diverged} networks diverged"
    if not store.missing:
        zoo = store.read()
        counts += f", test accuracy {zoo.accuracy[:, -1].mean():.3f} at the end"
        if ship:
            about = {"command": script.command(), "domains": dataset}
            zoo_store.save_zoo(zoo, ship, half=True, about=about)
    print(f"wrote {path}: {config.n_networks} networks, {counts}")


if __name__ == "__main__":
    script.run(main)
