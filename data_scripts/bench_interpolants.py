"""Time the cubic interpolant against scipy and torchcde; write one JSON file."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm.auto import tqdm

from hyperlab.base import HyperlabError, choose, stream, whole_file
from hyperlab.study import interpolant_speed, script, timing

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
    device: Annotated[str, typer.Option(help="cpu or cuda; scipy: cpu")] = "cpu",
    out: Annotated[Path, typer.Option(help="the file to write")] = OUT,
) -> None:
    """Seconds of every library from recorded knots to values and velocities."""
    try:
        n, knots, params = choose(SHAPES, scale)
        generator = stream(seed, "bench", "interpolants")
        thetas = torch.randn(n, knots, params, generator=generator).cumsum_(1).to(device)
        t = torch.rand(n, generator=generator).to(device)
        rows = interpolant_speed.compare(thetas, t, repeats=repeats, progress=tqdm)
    except (HyperlabError, RuntimeError) as error:
        raise SystemExit(f"bench_interpolants: {error}") from error
    record = {
        "command": script.command(),
        "what": WHAT,
        "n": {"trajectories": n, "knots": knots, "params": params, "repeats": repeats},
        "device": device,
        "machine": timing.machine(),
        "versions": timing.versions(["torch", "scipy", "torchcde"]),
        "libraries": rows,
    }
    with whole_file(out) as draft:
        draft.write_text(json.dumps(record, indent=2) + "\n")
    print(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
