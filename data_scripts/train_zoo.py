"""Train a zoo: many small networks that differ in their seed, or one run's last steps. Resumes."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.evaluation import timing
from hyperlab.weights import published, zoo_store
from hyperlab.weights.recipes import RECIPES
from hyperlab.weights.zoo import TailConfig, ZooConfig

import typer
from tqdm import tqdm

import script


def main(
    dataset: Annotated[str, typer.Option(help=f"one of {', '.join(RECIPES)}")] = "digits",
    scale: script.Scale = "laptop",
    seed: Annotated[int, typer.Option(help="of the first network")] = 0,
    n_networks: Annotated[int, typer.Option(help="seeds; 0: the scale's")] = 0,
    epochs: Annotated[str, typer.Option(help="kept, e.g. 6,7,8; empty: the scale's")] = "",
    single_run: Annotated[int, typer.Option(help="checkpoints of one run; 0: none")] = 0,
    out: Annotated[str, typer.Option(help="the store; empty: artifacts/zoo_DATASET")] = "",
    ship: Annotated[Path | None, typer.Option(help="small file", dir_okay=False)] = None,
    raw: Annotated[str, typer.Option("--published", help="a raw zoo to --ship, DIR")] = "",
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
    kept = script.numbers(epochs, "--epochs") if epochs else config.epochs
    n, tail = (1, TailConfig(n=single_run)) if single_run else (n_networks, None)
    config = replace(config, epochs=kept, n_networks=n or config.n_networks, tail=tail)
    path = out or f"artifacts/zoo_{dataset}" + ("_single_run" if single_run else "")
    about = {"command": timing.command(), "domains": dataset}
    if raw:
        ship = ship or Path(f"{path}.safetensors")
        published.convert(raw, ship, kept, dataset, about, progress=tqdm)
        print(f"wrote {ship}")
        return
    options = {"executor": executor, "root": data, "device": place, "progress": tqdm}
    store = zoo_store.train_zoo(path, config, **options)
    counts = f"{len(store.missing)} groups missing, {store.n_diverged} networks diverged"
    if not store.missing:
        counts += f", test accuracy {store.read().accuracy[:, -1].mean():.3f} at the end"
    if ship and store.missing:
        counts += f"; {ship} is not written before all groups are there"
    elif ship:
        zoo_store.save_zoo(store.read(), ship, half=True, trained=config, about=about)
    print(f"wrote {path}: {config.n_networks} networks, {counts}")


if __name__ == "__main__":
    script.run(main)
