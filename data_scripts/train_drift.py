"""Train HyperFlow's drift network on recorded trajectories and write it as safetensors."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab import base
from hyperlab.base import choose
from hyperlab.evaluation import diagnostics
from hyperlab.hyperflow import drift, jacobian_flow
from hyperlab.hyperflow.training import DriftConfig, fit_drift
from hyperlab.hyperflow.trajectories import Stream, Trajectories, TrajectoryStore

import torch
import typer
from tqdm import tqdm

import script

WITHOUT = {  # parts of the training, each with what switches it off
    "theta": {"sees_theta": False},
    "noise": {"noise": 0.0},
    "start": {"at_start": 0.0},
    "hiding": {"hide": 0.0},
}


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    path: Annotated[
        str, typer.Option(help="linear (L), piecewise (P) or cubic (C)")
    ] = "cubic",
    scale: script.Scale = "paper",
    seed: script.Seed = 0,
    out: Annotated[Path | None, typer.Option(help="or as shipped", dir_okay=False)] = None,
    device: script.Device = "auto",
    n_tasks: Annotated[int, typer.Option(help="the first so many; 0: all")] = 0,
    without: Annotated[str, typer.Option(help=f"of {', '.join(WITHOUT)}")] = "",
    correct: Annotated[
        Path | None, typer.Option(help="a Jacobian flow; a correction of it is trained")
    ] = None,
    memory: Annotated[
        float, typer.Option(help="GiB; a larger store is streamed through so much")
    ] = 2.0,
    steps: Annotated[int, typer.Option(help="of the training; 0: the scale's")] = 0,
) -> None:
    """HyperFlow-L, -P or -C for the target of a store; CPU, two cores: an hour."""
    started = time.perf_counter()
    place = script.place(device)
    out = out or base.PRETRAINED / f"hyperflow_{path}.safetensors"
    config = replace(DriftConfig.at(scale), path=path)
    config = replace(config, steps=steps or config.steps)
    for part in script.words(without):
        config = replace(config, **choose(WITHOUT, part))
    flow = jacobian_flow.load(correct).to(place) if correct else None
    recorded = TrajectoryStore.open(store)
    batches, held_out = recorded.split(n_tasks)
    validation = recorded.read(held_out).to(place)
    data = fed(recorded, batches, config, memory=memory, device=place)
    options = {"validation": validation, "correcting": flow, "progress": tqdm}
    generator = base.stream(seed, "drift", path)
    net, history = fit_drift(data, config, generator=generator, **options)
    seconds = time.perf_counter() - started
    first = diagnostics.on_path(net, validation, path=path)
    end = diagnostics.end_points(net, validation)
    about = {"seed": seed, "seconds": round(seconds), "config": config, "tasks": len(data)}
    about |= {"domains": list(data.sample.domains), "validation": history.validation}
    about |= {"error at t = 0": first.error, "end points": (end.error, end.cosine)}
    about = {key: str(value) for key, value in about.items()}
    if flow:
        flow.correction = net
        jacobian_flow.save(flow.cpu(), out, about)
    else:
        drift.save(net.cpu(), out, about)
    print(f"wrote {out} ({len(data)} trajectories, {seconds:.0f} s)")


def fed(
    store: TrajectoryStore,
    batches: Sequence[int],
    config: DriftConfig,
    *,
    memory: float,
    device: torch.device | str,
) -> Trajectories | Stream:
    """Some batches of a store in memory, or streamed so that all of their tasks are seen.

    Args:
        memory: GiB that they may take.
    """
    share = len(batches) * store.group.attrs["batch"] / store.n_rows
    if share * store.n_bytes <= memory * 2**30:
        return store.read(batches).to(device)
    script.spare_a_core()
    data = Stream(store, batches, memory_bytes=int(memory * 2**30), device=device)
    draws = config.steps * config.batch // len(data)
    return replace(data, draws=max(1, min(data.draws, draws)))


if __name__ == "__main__":
    script.run(main)
