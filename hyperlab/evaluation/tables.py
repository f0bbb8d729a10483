"""What written tables share: rows of Markdown, the interval of a mean, how they are read."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from scipy import special
from torch import Tensor

from ..base import ConfigError, DataMissingError, expanded, stream

Row = dict[str, object]
FEWEST = 3  # units below which a mean gets no interval
Number = TypeVar("Number", float, Tensor, np.ndarray, pd.Series)


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(heads), "|---" * len(heads) + "|", *map(_line, rows)]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def interval(values: Sequence[float] | pd.Series | Tensor) -> float:
    """Half the width of the 95 % interval of a mean, over the units that the claim is about.

    Args:
        values: one of each unit, e.g. the mean of each domain, seed or task.

    Returns:
        See `half_width`; not a number below three units.
    """
    found = np.asarray(values, dtype=np.float64)
    return (
        half_width(float(found.std(ddof=1)), len(found))
        if len(found) >= FEWEST
        else math.nan
    )


def spread(name: str, values: pd.Series) -> dict[str, float]:
    """Columns of a row: the mean of the units, their deviation `_sd`, half an interval `_pm`."""
    found = {name: float(values.mean()), f"{name}_sd": float(values.std(ddof=1))}
    return found | {f"{name}_pm": interval(values)}


def over_seeds(rows: Iterable[Row], *by: str) -> list[Row]:
    """One row for those that differ in the seed alone: the mean of every number that changes.

    Args:
        by: keys that tell rows of different things apart.

    Returns:
        The first of the rows with means in it, half an interval as `accuracy_pm`, and `n_seeds`.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    found = []
    for same in groups.values():
        over = {key: [row[key] for row in same] for key in same[0] if key != "seed"}
        changing = {
            key: statistics.fmean(values)
            for key, values in over.items()
            if isinstance(values[0], int | float) and len({*values}) > 1
        }
        half = {"accuracy_pm": interval(over["accuracy"]), "n_seeds": len(same)}
        found.append(same[0] | changing | half)
    return found


def half_width(deviation: Number, n: int) -> Number:
    """t s / sqrt(n), with Student's t of n - 1 degrees of freedom; not a number below n = 3.

    Args:
        deviation: s of n values, with n - 1; an array or tensor gives as many half widths.
    """
    t = special.stdtrit(n - 1, 0.975) if n >= FEWEST else math.nan
    return deviation * float(t) / n**0.5


def with_interval(mean: float, half: float, *, sign: str = "", scale: float = 100.0) -> str:
    """0.027, 0.015 -> "2.7 ± 1.5", in per cent; sign "+" writes both signs; none is "–"."""
    return f"{scale * mean:{sign}.1f} ± {'–' if half != half else f'{scale * half:.1f}'}"


def fraction(
    part: Sequence[float] | pd.Series, whole: Sequence[float] | pd.Series
) -> tuple[float, float, float]:
    """Sum of part over sum of whole, and its 95 % bootstrap interval over the units.

    Units are drawn anew 10,000 times, with replacement; no interval below three of them.
    """
    pairs = torch.tensor([list(part), list(whole)], dtype=torch.float64)
    total, n = pairs.sum(1), pairs.shape[1]
    if n < FEWEST:
        return float(total[0] / total[1]), math.nan, math.nan
    drawn = torch.randint(n, (10_000, n), generator=stream(0, "bootstrap"))
    sums = pairs[:, drawn].sum(2)
    low, high = (sums[0] / sums[1]).quantile(pairs.new_tensor([0.025, 0.975])).tolist()
    return float(total[0] / total[1]), low, high


def rounded(found: object) -> object:
    """Every float in it with six decimals, for JSON; not a number becomes None."""
    if isinstance(found, Mapping):
        return {key: rounded(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return [rounded(value) for value in found]
    if isinstance(found, float):
        return None if math.isnan(found) else round(float(found), 6)
    return found


def number(value: float | int | None) -> float:
    """What JSON gave back; None is not a number."""
    return math.nan if value is None else float(value)


def bands(rows: Sequence[Row], dataset: str) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Start -> epochs, mean accuracies and half widths: what `figures.bands` draws."""
    chosen = [row for row in rows if row["dataset"] == dataset]
    if not chosen:
        have = sorted({row["dataset"] for row in rows})
        raise ConfigError(f"no row of {dataset!r}; have {have}")
    found = {}
    for start in dict.fromkeys(row["start"] for row in chosen):
        own = [row for row in chosen if row["start"] == start]
        names = ("epoch", "accuracy", "accuracy_pm")
        columns = [[number(row[name]) for row in own] for name in names]
        found[start] = tuple(torch.tensor(c, dtype=torch.float32) for c in columns)
    return found


def written(path: Path | str, script: str) -> dict:
    """What a script has written.

    Args:
        script: its file's name, for the message.

    Raises:
        DataMissingError: there is no such file.
    """
    if not (path := expanded(Path(path))).exists():
        raise DataMissingError(f"no table {path}; run: python data_scripts/{script}")
    return json.loads(Path(path).read_text(encoding="utf-8"))
