"""Tables of evaluations that were written before."""

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ..base import DataMissingError, expanded


def read(stem: Path | str) -> tuple[pd.DataFrame, dict[str, object]]:
    """The summary of a written table, and what is said about it (command, role, seed ...).

    Raises:
        DataMissingError: there is no such table.
    """
    path = expanded(Path(stem)).with_suffix(".json")
    if not path.exists():
        raise DataMissingError(f"no table {path}; run: python data_scripts/evaluate.py")
    found = json.loads(path.read_text(encoding="utf-8"))
    facts = {key: value for key, value in found.items() if key != "summary"}
    return summary(found), facts.pop("about") | facts


def summary(figures: Mapping[str, object]) -> pd.DataFrame:
    """The summary among the figures of a table."""
    found = pd.DataFrame(figures["summary"])
    numbers = [name for name in found if name.endswith(("_sd", "_pm"))]
    return found.astype(dict.fromkeys(numbers, float))  # null, where there is no interval
