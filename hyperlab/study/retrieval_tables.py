"""The tables of retrieval: how good, against the originals, and for which data set."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..base import ConfigError, differences
from . import tables
from .generators import Row
from .tables import interval, table, with_interval

SAID = (
    "Accuracies in %, on test images; mean ± half a 95 % interval over seeds of encoder and flow "
    "(Student's t). All: mean of all networks of new support sets. Five: the best five on "
    "validation images. Gap: originals minus all, in points. Decoded: the originals, once through "
    "the one encoder."
)
ORIGINALS = "originals"


def read(path: Path | str) -> dict[str, object]:
    """A written study: `about` and `rows`.

    Raises:
        DataMissingError: there is none.
    """
    return tables.written(path, "retrieve_networks.py")


def begun(path: Path | str, settings: Mapping[str, object]) -> list[Row]:
    """The rows that a file holds already; none without a file.

    Raises:
        ConfigError: they were made with other settings.
    """
    if not Path(path).exists():
        return []
    found = read(path)
    pairs = {
        name: (str(found["about"].get(name)), str(settings[name])) for name in settings
    }
    split = {name: [text.split(", ") for text in pair] for name, pair in pairs.items()}
    differ = [words for name, pair in split.items() for words in differences(*pair, name)]
    if differ:
        raise ConfigError(
            f"{path} holds rows of other settings ({'; '.join(differ)}); take another --out"
        )
    return found["rows"]


def summary(rows: Sequence[Row]) -> list[Row]:
    """Of every way and data set the means over seeds, the interval, and the gap to originals."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["way"], row["support"]), []).append(row)
    out = []
    for (way, support), same in groups.items():
        over = [row["accuracy"] for row in same]
        mean = statistics.fmean(over)
        first = statistics.fmean(row["accuracy"] for row in groups[ORIGINALS, support])
        found = {"way": way, "support": support, "n_seeds": len(same), "n": same[0]["n"]}
        found |= {
            "accuracy": mean,
            "accuracy_pm": interval(over),
            "gap": 100 * (first - mean),
        }
        for name in ("chosen", "distance", "decoded"):
            if name in same[0]:
                found[name] = statistics.fmean(row[name] for row in same)
        out.append(found)
    return out


def confusion(rows: Sequence[Row], way: str) -> dict[str, dict[str, float]]:
    """Support set -> data set -> mean accuracy there, over the seeds of one way."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["way"] == way and "works_on" in row:
            for name, value in row["works_on"].items():
                found.setdefault(row["support"], {}).setdefault(name, []).append(value)
    return {
        s: {name: statistics.fmean(v) for name, v in part.items()}
        for s, part in found.items()
    }


def markdown(found: Mapping) -> str:
    """All tables of a written study."""
    rows, lines = summary(found["rows"]), ["# Retrieval", "", SAID, ""]
    lines += [f"`{found['about']['command']}`", "", f"`{found['about']['config']}`", ""]
    heads = ("way", "support", "n", "all", "gap", "five", "distance", "decoded")
    lines += table(heads, map(_cells, rows))
    for way in dict.fromkeys(row["way"] for row in rows):
        if matrix := confusion(found["rows"], way):
            names = list(matrix)
            lines += ["", f"## {way}: support set (row), works on (column)", ""]
            cells = [
                [name, *(f"{100 * part[n]:.1f}" for n in names)]
                for name, part in matrix.items()
            ]
            lines += table(["", *names], cells)
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> list[object]:
    accuracy = f"{100 * row['accuracy']:.1f}"
    if row["n_seeds"] > 1 and row["way"] != ORIGINALS:  # no sample: the same for every seed
        accuracy = with_interval(row["accuracy"], row["accuracy_pm"])
    decoded = f"{100 * row['decoded']:.1f}" if "decoded" in row else ""
    return [
        row["way"],
        row["support"],
        f"{row['n_seeds']} x {row['n']}",
        accuracy,
        f"{row['gap']:.1f}",
        f"{100 * row['chosen']:.1f}",
        f"{row['distance']:.2f}",
        decoded,
    ]
