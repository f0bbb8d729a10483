"""The tables of what encoders keep and generators make."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from .generators import Row
from .tables import table, written

HEADS = {
    "accuracy": "accuracy",
    "sd": "sd",
    "best": "best",
    "chosen": "five chosen",
    "failures": "failures",
    "max_iou": "IoU",
    "distance": "distance",
    "apart": "apart",
    "gain": "ensemble",
}
KEPT = ("zoo", "encoder", "numbers", "before", "training networks", "held-out networks")
SAID = (
    "Accuracies in %, on test images, of all networks a generator made; sd over networks, ± over "
    "generator seeds. Five chosen: on validation images. IoU: of wrong predictions with the most "
    "alike training network. Distance: to the nearest training network, 1 is what held-out "
    "networks have. Apart: of two of them. Ensemble: points that ten together gain."
)


def read(path: Path | str) -> list[Row]:
    """The rows of every zoo in a written table, `zoo` beside them; means over generator seeds.

    Raises:
        DataMissingError: there is no such table.
    """
    zoos = written(path, "compare_generators.py")["zoos"]
    rows = {name: summary(found["generators"]) for name, found in zoos.items()}
    return [{"zoo": name, **row} for name, part in rows.items() for row in part]


def summary(rows: Sequence[Row]) -> list[Row]:
    """Mean over the seeds of every figure, and the seeds' deviation of the accuracy."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row["encoder"], row["generator"])
        groups.setdefault(key, []).append(row)
    out = []
    for same in groups.values():
        numbers = [k for k, v in same[0].items() if isinstance(v, float) or k == "failures"]
        mean = {k: statistics.fmean(r[k] for r in same) for k in numbers}
        over = [r["accuracy"] for r in same]
        mean["seeds_sd"] = statistics.stdev(over) if len(over) > 1 else float("nan")
        out.append({**same[0], **mean, "n_seeds": len(same)})
    return out


def markdown(zoos: Mapping[str, Mapping]) -> str:
    """The tables of all zoos: what encoders keep, then what generators make."""
    lines = ["# What encoders keep", "", "Median loss of accuracy in points.", ""]
    kept = [(name, row) for name, found in zoos.items() for row in found["encoders"]]
    lines += table(KEPT, [[name, *kept_cells(row)] for name, row in kept])
    lines += ["", "# What generators make", "", SAID]
    for name, found in zoos.items():
        lines += ["", f"## {name}", "", f"`{found['about']['command']}`", ""]
        for encoder, about in found.get("again", {}).items():
            lines += [f"{encoder}: `{about['command']}`", ""]
        rows = summary(found["generators"])
        lines += table(["generator", "n", *HEADS.values()], map(cells, rows))
    return "\n".join(lines) + "\n"


def kept_cells(row: Row) -> list[object]:
    """An encoder's row of the table."""
    drops = [f"{row[f'{part}_drop']:.1f}" for part in ("train", "held_out")]
    return [row["encoder"], row["numbers"], f"{100 * row['train_before']:.1f}", *drops]


def cells(row: Row) -> list[str]:
    """A generator's row of the table."""
    name = f"{row['generator']}, {row['encoder']}" if row["encoder"] else row["generator"]
    words = {k: f"{row[k]:.2f}" for k in HEADS}
    for k in ("accuracy", "sd", "best", "chosen", "gain"):
        words[k] = f"{100 * row[k]:.1f}"
    if row["n_seeds"] > 1:
        words["accuracy"] += f" ± {100 * row['seeds_sd']:.1f}"
    words["failures"] = f"{row['failures']:.0f}"
    return [name, f"{row['n_seeds']} x {row['n']}", *words.values()]
