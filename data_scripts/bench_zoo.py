"""Time the training of a zoo's networks side by side and one by one; write one JSON file."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, stream, whole_file
from hyperlab.study import script, timing, zoo_speed
from hyperlab.weights.zoo import ZooConfig

import typer
from tqdm.auto import tqdm

SIZES = {"smoke": (4, 2), "laptop": (100, 10), "paper": (100, 50)}  # networks, steps timed
ZOOS = {"cnn_small": "mnist", "cnn_medium": "cifar10_medium"}
WHAT = "networks x steps per second of training on batches of float32 images"
OUT = Path("results/bench_zoo.json")


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts")] = 5,
    out: Annotated[Path, typer.Option(help="the file to write")] = OUT,
) -> None:
    """Groups of 25 and a loop over modules take turns, at batches of 10 and of 16 images."""
    n, steps = choose(SIZES, scale)
    zoos = [ZooConfig.at(at, name) for name in ZOOS.values() for at in ("paper", "laptop")]
    configs = {
        f"{z.recipe.architecture}, batch {z.batch}": replace(z, n_networks=n) for z in zoos
    }
    how = {"generator": stream(seed, "bench", "zoo"), "repeats": repeats}
    rows = zoo_speed.compare(configs, steps=steps, **how, progress=tqdm)
    record = {
        "command": script.command(),
        "what": WHAT,
        "n": {"networks": n, "group": zoos[0].group, "steps": steps, "repeats": repeats},
        "recipes": {name: asdict(config.recipe) for name, config in configs.items()},
        "machine": timing.machine(),
        "versions": timing.versions(["torch"]),
        "zoos": rows,
    }
    with whole_file(out) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
