"""The tables and curves of `study.starts`: where training starts, and who is ahead."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..base import ConfigError
from .generators import Row
from .tables import number, table, with_interval, written

SAID = (
    "Accuracies in % on test images, mean over networks ± half a 95 % interval (Student's t) over "
    "what stands above each table; no network is chosen. Every start is trained by the zoo's own "
    "recipe (Adam, its rate and batch), on the same batches. Ahead: the interval of the difference "
    "is above zero."
)
PAIR = (("start", "epoch"), ("other", "other_epoch"))


def read(path: Path | str) -> dict[str, Mapping]:
    """Comparison -> its facts, rows and gaps.

    Raises:
        DataMissingError: there is no such table.
    """
    return written(path, "compare_starts.py --zoos ...")["zoos"]


def bands(rows: Sequence[Row], dataset: str) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Start -> epochs, mean accuracies and half widths: what `figures.bands` draws."""
    mine = [row for row in rows if row["dataset"] == dataset]
    if not mine:
        have = sorted({row["dataset"] for row in rows})
        raise ConfigError(f"no row of {dataset!r}; have {have}")
    found = {}
    for start in dict.fromkeys(row["start"] for row in mine):
        own = [row for row in mine if row["start"] == start]
        names = ("epoch", "accuracy", "accuracy_pm")
        columns = [[number(row[name]) for row in own] for name in names]
        found[start] = tuple(torch.tensor(c, dtype=torch.float32) for c in columns)
    return found


def markdown(zoos: Mapping[str, Mapping]) -> str:
    """The curves of every zoo and data set as tables, then who is ahead of whom."""
    lines = ["# Starts of fine-tuning", "", SAID]
    for name, found in zoos.items():
        facts = found["facts"]
        lines += ["", f"## {name}", ""]
        lines += [f"`{found['about']['command']}`", ""]
        lines += [f"Of {facts['train']} networks after epoch {facts['epoch']}."]
        for dataset in dict.fromkeys(row["dataset"] for row in found["rows"]):
            lines += ["", *_curves(found["rows"], dataset)]
        lines += ["", *_gaps(found["gaps"])]
    return "\n".join(lines) + "\n"


def _curves(rows: Sequence[Row], dataset: str) -> list[str]:
    mine = [row for row in rows if row["dataset"] == dataset]
    first = mine[0]
    seen = "its own images" if first["seen"] else "never seen"
    lines = [
        f"**{dataset}** ({seen}; {first['n_train']} images an epoch, {first['n_test']} test "
        f"images, {first['n']} networks of each start; intervals over {first['n_units']} "
        f"{first['unit']})"
    ]
    parts = bands(rows, dataset)
    epochs = [str(row["epoch"]) for row in mine if row["start"] == first["start"]]
    cells = [
        [
            start,
            *map(with_interval, *(part.tolist() for part in found[1:])),
        ]
        for start, found in parts.items()
    ]
    return [*lines, "", *table(["start, accuracy after epochs", *epochs], cells)]


def _gaps(gaps: Sequence[Row]) -> list[str]:
    cells = []
    for row in gaps:
        pair = [f"{row[a]}, {row[b]}" for a, b in PAIR]
        points = with_interval(row["gap"], number(row["gap_pm"]))
        cells.append([row["dataset"], *pair, points, "yes" if row["ahead"] else "no"])
    return table(["data set", "start", "against", "points", "ahead"], cells)
