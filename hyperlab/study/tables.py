"""What written tables share: rows of Markdown, the interval of a mean, how they are read."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from ..base import DataMissingError


def table(heads: Sequence[object], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a Markdown table."""
    return [_line(heads), "|---" * len(heads) + "|", *map(_line, rows)]


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def interval(values: Sequence[float] | pd.Series) -> float:
    """Half the width of a 95 % interval of the mean, 1.96 s / sqrt(n), with ddof 1.

    Not a number for a single value.
    """
    return float(1.96 * pd.Series(values).std(ddof=1) / len(values) ** 0.5)


def written(path: Path | str, script: str) -> dict:
    """What a script has written.

    Args:
        script: its file's name, for the message.

    Raises:
        DataMissingError: there is no such file.
    """
    if not Path(path).exists():
        raise DataMissingError(f"no table {path}; run: python data_scripts/{script}")
    return json.loads(Path(path).read_text())
