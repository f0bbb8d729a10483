"""Write how long 1,000 to 40,000 trajectories take, from what bench_collection.py measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from hyperlab.base import DataMissingError, choose, whole_file
from hyperlab.evaluation import timing
from hyperlab.evaluation.budget import BACKBONES

import typer

import script
from bench_collection import VIT_S

COUNTS = (1_000, 10_000, 40_000)  # trajectories; the paper recorded 40,000
IMAGES = {"5-way 5-shot": 25, "ragged": 350}  # support images of a task
SHAPES = {"vit_micro": BACKBONES["vit_micro"], VIT_S: BACKBONES["ViT-S/16"]}
STEPS = {"vit_micro": 20, VIT_S: 50}  # gradient steps of a trajectory
GPU_FLOPS = 30e12  # assumed, a second; nothing here was measured on a GPU


@dataclass(frozen=True)
class Forecast:
    """One row: what is recorded, and what a trajectory takes."""

    name: str
    cpu_s: float  # from the bench's own machine
    gpu_s: float  # at `GPU_FLOPS`
    n_bytes: int  # thetas and contexts, not compressed

    def cells(self) -> list[str]:
        """For each of `COUNTS`: time here / on the assumed GPU, bytes."""
        return [
            f"{_time(n * self.cpu_s)} / {_time(n * self.gpu_s)}, {_two(n * self.n_bytes / 1e9)} GB"
            for n in COUNTS
        ]


def forecast(name: str, row: Mapping[str, object]) -> Forecast:
    """What the package's own way took, scaled by operations to a whole trajectory.

    Args:
        row: of results/bench_collection.json.
    """
    backbone = choose(SHAPES, row["backbone"])
    images, steps = choose(IMAGES, row["kind"]), choose(STEPS, row["backbone"])
    size = row["image_size"]

    def work(n_steps: int) -> int:
        return images * (
            n_steps * backbone.tuning(size, "biases") + backbone.features(size)
        )

    own = list(row["ways"].values())[-1]
    rate = row["tasks"] * work(row["steps"]) / own["seconds"]
    params = 3 * backbone.depth * backbone.width
    inputs = (2 * backbone.depth + 2) * backbone.width
    n_bytes = 4 * (steps + 1) * params + 2 * images * (inputs + backbone.width)
    return Forecast(
        f"{name}, {steps} steps", work(steps) / rate, work(steps) / GPU_FLOPS, n_bytes
    )


def markdown(bench: Mapping[str, object], command: str) -> str:
    """The table for people who have to plan."""
    machine = bench["machine"]
    lines = [
        f"Time on {machine['cores']} cores of {machine['cpu']} (measured on a few tasks, scaled) / "
        f"on a GPU that sustains {GPU_FLOPS / 1e12:.0f} TFLOP/s (assumed), and bytes before "
        "compression. The GPU's times count operations alone; a small network hardly gets there.",
        "",
        f"`{command}`",
        "",
        f"| recorded | {' | '.join(f'{n:,}' for n in COUNTS)} |",
        "|---" * (1 + len(COUNTS)) + "|",
    ]
    rows = [forecast(name, row) for name, row in bench["recording"].items()]
    lines += [f"| {row.name} | {' | '.join(row.cells())} |" for row in rows]
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{_two(seconds / length)} {unit}"
    return f"{_two(seconds)} s"


def _two(x: float) -> str:
    """Two significant digits, without an exponent."""
    return f"{float(f'{x:.2g}'):g}"


def main(
    bench: Annotated[Path, typer.Option(help="made by bench_collection.py")] = Path(
        "results/bench_collection.json"
    ),
    out: Annotated[Path, typer.Option(help="the table")] = Path("results/collection.md"),
) -> None:
    """Measured seconds scaled by operations; a GPU's from an assumed rate."""
    if not bench.exists():
        raise DataMissingError(
            f"no {bench}; run: python data_scripts/bench_collection.py --scale paper"
        )
    text = markdown(json.loads(bench.read_text(encoding="utf-8")), timing.command())
    with whole_file(out) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
