"""The tables of generators that are fine-tuned through the ODE, and of what stands beside them."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from .tables import table, written
from .through import THROUGH, Row

HEADS = ("encoder", "way", "n", "accuracy", "sd", "differ", "apart", "early", "operations")
SAID = (
    "Accuracies in %, on the target's test images, of all networks: mean ± deviation over seeds; "
    "sd is over networks. Differ: share of test images (in %) that two of the networks tell "
    "differently. Apart: mean distance of two of them in weights. Early: loss of flow matching to "
    "the base's codes before t'. Operations: of all networks together, fine-tuning through the "
    "ODE is 1. Learning rates are chosen on validation images."
)
STOPS = ("t'", "accuracy", "differ", "kB saved", "ms", "gradient's norm")


def read(path: Path | str) -> list[Row]:
    """The rows of every pair in a written table, `pair` beside them; means over seeds.

    Raises:
        DataMissingError: there is no such table.
    """
    pairs = written(path, "finetune_through.py")["pairs"]
    return [
        {"pair": name, **row}
        for name, found in pairs.items()
        for row in means(found["rows"])
    ]


def means(rows: Sequence[Row]) -> list[Row]:
    """Mean over the seeds of every figure, the accuracy's deviation, operations in units."""
    groups: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["encoder"], row["way"]), []).append(row)
    out = []
    for (encoder, way), same in groups.items():
        keys = [k for k, v in same[0].items() if isinstance(v, float)]
        row = {**same[0], **{k: statistics.fmean(r[k] for r in same) for k in keys}}
        over = [r["accuracy"] for r in same]
        row["seeds_sd"] = statistics.stdev(over) if len(over) > 1 else None
        unit = groups[encoder, THROUGH][0]["flops"] if "flops" in row else 1
        row["operations"] = row.get("flops", 0) / unit
        out.append({**row, "n_seeds": len(same), "way": way})
    return out


def markdown(pairs: Mapping[str, Mapping]) -> str:
    """The tables of all pairs."""
    lines = ["# Fine-tuning a generator through the ODE", "", SAID]
    for name, found in pairs.items():
        facts = found["facts"]
        lines += ["", f"## {name}", "", f"`{found['about']['command']}`", ""]
        lines += [sentence(facts), "", *table(HEADS, map(cells, means(found["rows"])))]
        if found["stops"]:
            lines += ["", "One seed, for every t':", ""]
            lines += table(STOPS, map(stop_cells, found["stops"]))
    return "\n".join(lines) + "\n"


def sentence(facts: Row) -> str:
    """What the generator was worth at home, and when it would pay."""
    home = [f"{100 * facts[k]:.1f} %" for k in ("originals_at_home", "samples_at_home")]
    steps, networks = facts["reach_steps"], facts["networks"]
    pays = "Plain training did not reach the fine-tuned generator's accuracy."
    if steps is not None:
        pays = (
            f"Plain training from a sample reaches the fine-tuned generator's accuracy in "
            f"{steps} steps: from {networks:.0f} networks on the generator costs less."
        )
    return (
        f"{facts['train']} networks of {facts['base']}, {facts['images']} training images of "
        f"{facts['target']}. At home: originals {home[0]}, samples {home[1]}. {pays}"
    )


def cells(row: Row) -> list[str]:
    """A way's row of the table."""
    accuracy = f"{100 * row['accuracy']:.1f}"
    if row["seeds_sd"] is not None:
        accuracy += f" ± {100 * row['seeds_sd']:.1f}"
    scales = {"sd": 100, "differ": 100, "apart": 1, "early": 1}
    rest = ["" if row[k] is None else f"{x * row[k]:.1f}" for k, x in scales.items()]
    last = [f"{row['operations']:.2f}"]
    return [
        row["encoder"], row["way"], f"{row['n_seeds']} x {row['n']}", accuracy, *rest, *last
    ]  # fmt: skip


def stop_cells(row: Row) -> list[str]:
    """The row of one t'."""
    words = [f"{row['stop']:.2f}"] + [f"{100 * row[k]:.1f}" for k in ("accuracy", "differ")]
    words += [f"{row['saved_bytes'] / 1e3:.0f}", f"{1e3 * row['seconds']:.0f}"]
    return [*words, f"{row['norm']:.2f}"]
