"""Learn how features answer to the moving parameters, from the tasks of a store of trajectories."""

import time
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab import base
from hyperlab.hyperflow import collect, jacobian, trajectories
from hyperlab.models import targets
from hyperlab.study import script


def main(
    store: Annotated[Path, typer.Argument(help="made by collect_trajectories.py")],
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "paper",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "artifacts/jacobian.safetensors"
    ),
    device: Annotated[str, typer.Option(help="cpu or cuda; auto: what there is")] = "auto",
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
) -> None:
    """Three backward passes a task, at random points of its path; CPU, one core: 18 minutes."""
    started = time.perf_counter()
    place = base.default_device() if device == "auto" else device
    config = jacobian.JacobianConfig.at(scale)
    target = targets.load("vit_micro").to(place)
    generator = base.stream(seed, "jacobian")
    tasks = collect.redrawn(trajectories.Store.open(store), root=data)
    seen = jacobian.gather(target, tasks, config, generator=generator, progress=tqdm)
    how = {"token_size": target.model.num_features, "generator": generator, "device": place}
    net = jacobian.fit_jacobian(seen, config, **how, progress=tqdm)
    seconds = time.perf_counter() - started
    about = {"seed": seed, "seconds": round(seconds), "config": config}
    jacobian.save(net.cpu(), out, {key: str(value) for key, value in about.items()})
    print(
        f"wrote {out} ({len(seen.look)} images of {len(seen.delta)} looks, {seconds:.0f} s)"
    )


if __name__ == "__main__":
    script.run(main)
