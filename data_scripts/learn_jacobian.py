"""Make a Jacobian flow: learn how features answer to theta, and the pace of recorded paths."""

import time
from pathlib import Path
from typing import Annotated

from hyperlab import base
from hyperlab.hyperflow import collect, jacobian, jacobian_flow
from hyperlab.models import targets

import typer
from tqdm import tqdm

import script
import study

SAMPLE = 64  # batches of the store that paces are fitted to


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    scale: script.Scale = "paper",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "artifacts/jacobian_flow.safetensors"
    ),
    device: script.Device = "auto",
    data: script.Data = None,
    backbone: script.Backbone = "vit_micro",
    image_size: script.ImageSize = 0,
) -> None:
    """Three backward passes a task, at random points of its path; CPU, one core: 18 minutes."""
    started = time.perf_counter()
    place = script.place(device)
    config = jacobian.JacobianConfig.at(scale)
    target = targets.load(backbone, image_size=image_size or None).to(place)
    generator = base.stream(seed, "jacobian")
    recorded = study.reopen(store, target)
    tasks = collect.redrawn(recorded, root=data)
    seen = jacobian.gather(target, tasks, config, generator=generator, progress=tqdm)
    options = {
        "token_size": target.model.num_features,
        "generator": generator,
        "device": place,
    }
    net = jacobian.fit_jacobian(seen, config, **options, progress=tqdm)
    sample = recorded.read(recorded.there[:SAMPLE])
    flow = jacobian_flow.fit_paces(sample, net.cpu())
    seconds = time.perf_counter() - started
    about = {"seed": seed, "seconds": round(seconds), "config": config}
    about |= {"domains": recorded.group.attrs["domains"]}
    jacobian_flow.save(flow, out, {key: str(value) for key, value in about.items()})
    print(
        f"wrote {out} ({len(seen.look)} images of {len(seen.delta)} looks, {seconds:.0f} s)"
    )


if __name__ == "__main__":
    script.run(main)
