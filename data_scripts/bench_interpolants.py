"""Time the cubic interpolant against scipy and torchcde; write one JSON file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from hyperlab.base import Progress, choose, silent, stream
from hyperlab.evaluation.timing import median_s
from hyperlab.interpolants import Cubic

import torch
import typer
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from torch import Tensor
from tqdm.auto import tqdm

import script
import study

BLOCK = 16  # trajectories read at once; the coefficients of 256 would take 5.8 GB

try:
    import torchcde
except ImportError:  # optional: the extra `bench`
    torchcde = None


@dataclass(frozen=True)
class Library:
    """How one library goes from recorded knots to values and velocities."""

    prepare: Callable[[Tensor, Tensor], object]  # (times, thetas of a block) -> ready
    read: Callable[[object, Tensor], Tensor]  # (ready, times) -> block x 2 x params


def _read_ours(path: Cubic, t: Tensor) -> Tensor:
    return torch.stack(path.both_each(t), dim=1)


def _scipy(times: Tensor, thetas: Tensor) -> Sequence[CubicSpline]:
    knots, records = times.cpu().numpy(), thetas.cpu().numpy()
    return [CubicSpline(knots, record, bc_type="natural") for record in records]


def _read_scipy(splines: Sequence[CubicSpline], t: Tensor) -> Tensor:
    pairs = zip(splines, t.tolist(), strict=True)
    both = [[torch.from_numpy(spline(s, order)) for order in (0, 1)] for spline, s in pairs]
    return torch.stack([torch.stack(pair) for pair in both])


def _torchcde(times: Tensor, thetas: Tensor) -> Sequence[object]:
    knots = times.to(thetas)
    blocks = torchcde.natural_cubic_coeffs(thetas, knots)
    return [torchcde.CubicSpline(coefficients, knots) for coefficients in blocks]


def _read_torchcde(splines: Sequence[object], t: Tensor) -> Tensor:
    pairs = zip(splines, t, strict=True)
    return torch.stack([torch.stack([x.evaluate(s), x.derivative(s)]) for x, s in pairs])


def libraries() -> Mapping[str, Library]:
    """Ours, scipy's (on the CPU, in double precision) and torchcde's if it is installed."""
    found = {"hyperlab": Library(Cubic, _read_ours), "scipy": Library(_scipy, _read_scipy)}
    return found | ({"torchcde": Library(_torchcde, _read_torchcde)} if torchcde else {})


def compare(
    thetas: Float[Tensor, " n knots params"],
    t: Float[Tensor, " n"],
    *,
    repeats: int = 5,
    progress: Progress = silent,
) -> dict[str, dict[str, float]]:
    """Value and velocity of every trajectory at a time of its own, by every library.

    Returns:
        For each library `from_records_s` (all trajectories from their knots; median),
        `prepared_s` (the first 16 alone, coefficients made before), the ratios of both to
        ours, and `difference`: the largest from scipy's answers, over the largest of them.
    """
    times = torch.linspace(0, 1, thetas.shape[1], dtype=torch.float64, device=thetas.device)
    first, first_t = thetas[:BLOCK], t[:BLOCK]
    truth = _read_scipy(_scipy(times, first), first_t)
    rows = {}
    items = libraries().items()
    for name, library in progress(items, total=len(items), desc="libraries"):
        rows[name] = _measure(library, times, (thetas, t), repeats)
        found = library.read(library.prepare(times, first), first_t).to(truth)
        rows[name]["difference"] = float((found - truth).abs().max() / truth.abs().max())
    ours = rows["hyperlab"]
    for row in rows.values():
        for key in ("from_records", "prepared"):
            row[f"{key}_ratio"] = row[f"{key}_s"] / ours[f"{key}_s"]
    return rows


def _measure(
    library: Library, times: Tensor, data: tuple[Tensor, Tensor], repeats: int
) -> dict[str, float]:
    blocks = list(zip(*(part.split(BLOCK) for part in data), strict=True))
    thetas, t = blocks[0]
    ready = library.prepare(times, thetas)
    prepared_s = median_s(lambda: library.read(ready, t), repeats=repeats)

    def from_records() -> None:
        for thetas, t in blocks:
            library.read(library.prepare(times, thetas), t)

    return {
        "from_records_s": median_s(from_records, repeats=repeats),
        "prepared_s": prepared_s,
    }


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
    rows = compare(thetas, t, repeats=repeats, progress=tqdm)
    sizes = {"trajectories": n, "knots": knots, "params": params, "repeats": repeats}
    facts = {"what": WHAT, "n": sizes, "device": str(place)}
    about = study.about("torch", "scipy", "torchcde", **facts)
    study.write(out, about | {"libraries": rows})
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
