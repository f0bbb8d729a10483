"""Pre-train the set encoder that tells a generator of networks about a data set."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import stream
from hyperlab.evaluation import timing
from hyperlab.models import belonging, targets
from hyperlab.tasks import roles
from hyperlab.weights import context

import typer
from tqdm import tqdm

import script

LEFT_OUT = {"cifar10"}  # its test images judge generated networks
N_CLASSES = 10


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="the file to write")] = context.SHIPPED,
    n_classes: Annotated[int, typer.Option(help="most classes of a set")] = N_CLASSES,
    data: script.Data = None,
) -> None:
    """On random sets of the role `trajectories`, CIFAR-10 left out; one core: some minutes."""
    begun = time.perf_counter()
    config = replace(context.SetConfig.at(scale), n_classes=n_classes)
    encoder, pools = context.MeanFeatures(targets.load()), {}
    for role in ("trajectories", "validation"):
        pools[role] = {
            source.name: context.pool_of(encoder, domain)
            for source, domain in roles.open_role(role, root=data, progress=tqdm)
            if source.name not in LEFT_OUT
        }
    g = stream(seed, "set encoder")
    learned = list(pools["trajectories"].values())
    net = context.fit_sets(learned, config, generator=g, progress=tqdm)
    net.target = belonging.described(encoder.target)
    options = {"n_sets": 200, "n_shot": config.n_shot, "generator": stream(seed, "sets")}
    right = context.right_share(net, list(pools["validation"].values()), **options)
    about = {"command": timing.command(), "seed": seed, "config": config}
    about |= {"seconds": round(time.perf_counter() - begun), "right_share": f"{right:.3f}"}
    about["domains"] = list(pools["trajectories"])
    context.save(net, out, {key: str(value) for key, value in about.items()})
    print(f"wrote {out}: names {right:.1%} of the queries in sets of new domains")


if __name__ == "__main__":
    script.run(main)
