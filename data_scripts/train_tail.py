"""Train a timm network, freeze it but for its last two norm layers, and keep their next steps."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Annotated

from hyperlab.base import choose
from hyperlab.evaluation import timing
from hyperlab.weights import recipes, tails, zoo_store
from hyperlab.weights.recipes import RECIPES
from hyperlab.weights.zoo import accuracies

import typer
from tqdm import tqdm

import script


def main(
    network: Annotated[str, typer.Option(help="a timm network; empty: the scale's")] = "",
    dataset: Annotated[str, typer.Option(help=f"one of {', '.join(RECIPES)}")] = "digits",
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="or artifacts/tail_NETWORK_DATASET", dir_okay=False)
    ] = None,
    device: script.Device = "auto",
    data: script.Data = None,
) -> None:
    """Seconds at smoke scale; at laptop scale some minutes on one core."""
    config = replace(tails.NormConfig.at(scale), seed=seed)
    config = replace(config, network=network or config.network)
    recipe = choose(RECIPES, dataset)
    splits = recipes.load(recipe, root=data).first(config.n_train, config.n_eval)
    start = perf_counter()
    splits = splits.to(script.place(device))
    tail = tails.train_tail(config, dataset, splits, progress=tqdm)
    seconds = perf_counter() - start
    trained, path = (
        tail.architecture,
        out or f"artifacts/tail_{config.network}_{dataset}.safetensors",
    )
    zoo_store.save_zoo(tail, path, about={"command": timing.command()})
    before = accuracies(trained, trained.w0[None], *splits.test)
    after = tail.accuracy[0]
    print(
        f"wrote {path}: {len(tail.epochs)} checkpoints of {trained.n_params} numbers, test "
        f"accuracy {after.mean():.4f} (sd {after.std():.4f}), of the network {before[0]:.4f}; "
        f"{seconds:.0f} s"
    )


if __name__ == "__main__":
    script.run(main)
