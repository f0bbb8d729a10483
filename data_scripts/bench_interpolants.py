"""Time the cubic interpolant against scipy and torchcde; write one JSON file."""

import json
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, stream, whole_file
from hyperlab.study import interpolant_speed, script, timing

import torch
import typer
from tqdm.auto import tqdm

SHAPES = {  # trajectories, knots, parameters (13,824: the qkv biases of ViT-S/16)
    "smoke": (16, 11, 256),
    "laptop": (32, 51, 13_824),
    "paper": (256, 51, 13_824),
}
WHAT = "value and velocity of each float32 trajectory at one random time of its own"
OUT = Path("results/bench_interpolants.json")


def main(
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "laptop",
    seed: Annotated[int, typer.Option(help="of the paths and the times")] = 0,
    repeats: Annotated[int, typer.Option(help="calls timed; the median counts")] = 5,
    device: script.Device = "cpu",
    out: Annotated[Path, typer.Option(help="the file to write")] = OUT,
) -> None:
    """Seconds of every library from recorded knots to values and velocities."""
    place = script.place(device)
    n, knots, params = choose(SHAPES, scale)
    generator = stream(seed, "bench", "interpolants")
    thetas = torch.randn(n, knots, params, generator=generator).cumsum_(1).to(place)
    t = torch.rand(n, generator=generator).to(place)
    rows = interpolant_speed.compare(thetas, t, repeats=repeats, progress=tqdm)
    record = {
        "command": script.command(),
        "what": WHAT,
        "n": {"trajectories": n, "knots": knots, "params": params, "repeats": repeats},
        "device": str(place),
        "machine": timing.machine(),
        "versions": timing.versions(["torch", "scipy", "torchcde"]),
        "libraries": rows,
    }
    with whole_file(out) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
