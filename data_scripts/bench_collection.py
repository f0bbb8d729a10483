"""Time the recording of fine-tunings against a plain loop over tasks; write one JSON file."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, whole_file
from hyperlab.hyperflow.collect import CollectConfig, collect
from hyperlab.models import targets
from hyperlab.study import collection_speed, script, timing

import torch
import typer
from tqdm.auto import tqdm


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    threads: Annotated[int, typer.Option(help="processor threads")] = 2,
    device: script.Device = "auto",
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "results/bench_collection.json"
    ),
) -> None:
    """Seconds of every way to record the same trajectories; what writing them costs."""
    torch.set_num_threads(threads)
    place = script.place(device)
    plans, rows = collection_speed.PLANS, {}
    names = choose(collection_speed.AT, scale)
    for name in names:
        plan = plans[name]
        rows[name] = collection_speed.measure(plan, place, seed=seed, progress=tqdm)
    target = targets.load("vit_micro").to(place)
    with tempfile.TemporaryDirectory() as folder:
        plan = replace(CollectConfig.at(scale), n_tasks=8, batch=8, seed=seed)
        store = collect(target, Path(folder) / "store", plan)
        parts = collection_speed.writing_share(target, store, 0)
    about = {"command": script.command(), "machine": timing.machine()}
    about |= {"versions": timing.versions(["torch", "timm"]), "seconds of 8 tasks": parts}
    with whole_file(out) as draft:
        draft.write_text(
            json.dumps(about | {"recording": rows}, indent=2) + "\n", encoding="utf-8"
        )
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
