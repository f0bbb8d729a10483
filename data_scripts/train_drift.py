"""Train a drift network on recorded trajectories and write it as safetensors."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab import base, checkpoint
from hyperlab.hyperflow import jacobian, jacobian_flow, training, trajectories

import typer
from tqdm import tqdm

import script


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    jacobian_file: Annotated[
        Path, typer.Option("--jacobian", help="made by learn_jacobian.py")
    ] = Path("artifacts/jacobian.safetensors"),
    path: Annotated[str, typer.Option(help="linear (L), piecewise or cubic (C)")] = "cubic",
    scale: script.Scale = "paper",
    seed: script.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="or as shipped", dir_okay=False)] = None,
    device: script.Device = "auto",
    memory: Annotated[
        float, typer.Option(help="GiB; a larger store is streamed through so much")
    ] = 2.0,
    steps: Annotated[
        int, typer.Option(help="of the correction; 0: none; -1: the scale's")
    ] = -1,
) -> None:
    """Jacobian flow L or C for `vit_micro`; CPU, two cores: minutes."""
    started = time.perf_counter()
    place = script.place(device)
    recorded = trajectories.TrajectoryStore.open(store)
    learned, about_jacobian = jacobian.load(jacobian_file), checkpoint.about(jacobian_file)
    shared = "" if out else "jacobian.safetensors"
    out = out or base.PRETRAINED / f"jacobian_flow_{path}.safetensors"
    if shared:  # before the training: another Jacobian may be there
        jacobian.share(learned, out.with_name(shared), about_jacobian)
    if recorded.n_bytes > memory * 2**30:
        trajectories.spare_a_core()
        data = trajectories.Stream(recorded, memory_bytes=int(memory * 2**30), device=place)
    else:
        data = recorded.read(progress=tqdm).to(place)
    config = replace(training.DriftConfig.at(scale), path=path)
    config = replace(config, steps=config.steps if steps < 0 else steps)
    generator = base.stream(seed, "drift", path)
    net, _ = training.fit_drift(data, config, learned, generator=generator, progress=tqdm)
    seconds = time.perf_counter() - started
    about = {"seed": seed, "seconds": round(seconds), "config": config, "tasks": len(data)}
    about |= {"domains": list(data.sample.domains), "jacobian": about_jacobian}
    jacobian_flow.save(net.cpu(), out, {k: str(v) for k, v in about.items()}, shared=shared)
    print(f"wrote {out} ({len(data)} trajectories, {seconds:.0f} s)")


if __name__ == "__main__":
    script.run(main)
