"""Make a Jacobian flow: learn how features answer to theta, and the pace of recorded paths."""

import time
from pathlib import Path
from typing import Annotated

from hyperlab import base, checkpoint
from hyperlab.hyperflow import collect, jacobian, jacobian_flow
from hyperlab.models import targets

import typer
from tqdm import tqdm

import script
import study

SAMPLE = 64  # batches of the store that the pace is fitted to


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
    keep: Annotated[
        Path | None, typer.Option(help="a Jacobian flow: keep its Jacobian, fit the pace")
    ] = None,
) -> None:
    """Three backward passes a task, at random points of its path; CPU, one core: 18 minutes."""
    started = time.perf_counter()
    place = script.place(device)
    config = jacobian.JacobianConfig.at(scale)
    target = targets.load(backbone, image_size=image_size or None).to(place)
    recorded = study.reopen(store, target)
    if keep:
        net, about = jacobian_flow.load(keep).jacobian, checkpoint.about(keep)
    else:
        options = {"generator": base.stream(seed, "jacobian"), "progress": tqdm}
        tasks = collect.redrawn(recorded, root=data)
        seen = jacobian.gather(target, tasks, config, **options)
        size = target.model.num_features
        net = jacobian.fit_jacobian(seen, config, token_size=size, device=place, **options)
        seconds = round(time.perf_counter() - started)
        about = {"seed": seed, "seconds": seconds, "config": config}
        about |= {"domains": recorded.group.attrs["domains"], "images": len(seen.look)}
    sample = recorded.read(recorded.there[:SAMPLE])
    flow = jacobian_flow.fit_pace(sample, net.cpu())
    teacher = collect.config_of(recorded).teacher
    about |= {"pace": f"{float(flow.pace):.1f}, from {len(sample)} tasks, {teacher}"}
    jacobian_flow.save(flow, out, {key: str(value) for key, value in about.items()})
    print(f"wrote {out} (pace {about['pace']})")


if __name__ == "__main__":
    script.run(main)
