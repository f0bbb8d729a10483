"""Time the recording of fine-tunings, in groups against one by one; write one JSON file."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm.auto import tqdm

from hyperlab.base import HyperlabError, choose, whole_file
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.models import targets
from hyperlab.study import collection_speed, script, timing
from hyperlab.tasks import domains, episodes

TASKS = {"smoke": 2, "laptop": 16, "paper": 64}
STEPS = {"smoke": 1, "laptop": 10, "paper": 20}
SIZES = {"cpu": (1, 2, 4, 8, 16), "cuda": (1, 8, 64)}
WHAT = "qkv biases of vit_micro, 5-way 5-shot, Adam, one augmented view a step; every knot is kept"


def main(
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "laptop",
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts")] = 7,
    threads: Annotated[int, typer.Option(help="processor threads")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda; auto: both if there")] = "auto",
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "results/bench_collection.json"
    ),
) -> None:
    """Seconds of every way to record the same trajectories, and how much faster than a loop."""
    torch.set_num_threads(threads)
    both = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    rows = {}
    try:
        n, steps = choose(TASKS, scale), choose(STEPS, scale)
        config = TeacherConfig(steps=steps, lr=0.03, optimiser="adam")
        drawn = episodes.seeded(domains.load("digits"), n, seed=seed)
        supports = [episode.support for episode in drawn]
        for place in both if device == "auto" else [device]:
            target = targets.load("vit_micro").to(place)
            plan = {"sizes": choose(SIZES, place), "repeats": repeats, "progress": tqdm}
            rows[place] = collection_speed.compare(target, supports, config, **plan)
    except (HyperlabError, RuntimeError) as error:
        raise SystemExit(f"bench_collection: {error}") from error
    counts = {"tasks": n, "steps": config.steps, "repeats": repeats}
    about = {"command": script.command(), "what": WHAT, "n": counts}
    facts = {"machine": timing.machine(), "versions": timing.versions(["torch", "timm"])}
    with whole_file(out) as draft:
        draft.write_text(json.dumps(about | facts | {"ways": rows}, indent=2) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
