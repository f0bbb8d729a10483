"""Time a flow's step, loss and optimal coupling against torchcfm; write one JSON file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, stream, whole_file
from hyperlab.study import flow_speed, script, timing
from hyperlab.weights.flow import FlowConfig

import torch
import typer
from tqdm.auto import tqdm

SIZES = {  # points, numbers of each, steps timed at once (64: the code of a 4 x 4 x 4 latent)
    "smoke": (256, 16, 40),
    "laptop": (400, 64, 50),
    "paper": (400, 256, 200),
}
WHAT = "seconds of one training step, one loss and one exact coupling of a batch of float32 points"
OUT = Path("results/bench_flow.json")


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts")] = 9,
    out: Annotated[Path, typer.Option(help="the file to write")] = OUT,
) -> None:
    """Ours and torchcfm's take turns in one run, at batches of 64 and 256."""
    n, dim, steps = choose(SIZES, scale)
    config = replace(FlowConfig.at(scale), prior="normal", steps=steps)
    generator = stream(seed, "bench", "flow")
    x1 = torch.randn(n, dim, generator=generator)
    rows = flow_speed.compare(
        x1, config, generator=generator, repeats=repeats, progress=tqdm
    )
    record = {
        "command": script.command(),
        "what": WHAT,
        "n": {"points": n, "numbers": dim, "steps": steps, "repeats": repeats},
        "field": {"width": config.width, "depth": config.depth},
        "machine": timing.machine(),
        "versions": timing.versions(["torch", "scipy", "torchcfm", "POT"]),
        "tasks": rows,
    }
    with whole_file(out) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
