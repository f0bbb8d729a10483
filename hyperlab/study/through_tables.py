"""The tables of generators that are fine-tuned through the ODE, and of what stands beside them."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from .tables import interval, table, with_interval, written
from .through import ROWS, THROUGH, Row

HEADS = (
    "encoder", "way", "n", "accuracy", "sd", "differ", "apart", "early", "operations", "rate"
)  # fmt: skip
SAID = (
    "Accuracies in %, on the target's test images, of all networks: mean ± half a 95 % interval "
    "over seeds (Student's t); sd is over networks. Differ: share of test images (in %) that two "
    "of the networks tell differently. Apart: mean distance of two of them in weights. Early: "
    "loss of flow matching to the base's codes before t'. Operations: of all networks together, "
    "fine-tuning through the ODE is 1. Rate: the learning rate, chosen on validation images of "
    "the first seed. At an edge of its grid the best one may lie outside, and accuracies are those "
    "of the grid."
)
EDGES = {"lower": min, "upper": max}
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
    """Mean over the seeds of every figure, the accuracy's interval, operations in units."""
    groups: dict[tuple[object, object], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["encoder"], row["way"]), []).append(row)
    out = []
    for (encoder, way), same in groups.items():
        keys = [k for k, v in same[0].items() if isinstance(v, float) and k != "lr"]
        row = {**same[0], **{k: statistics.fmean(r[k] for r in same) for k in keys}}
        row["accuracy_pm"] = interval([r["accuracy"] for r in same])
        unit = groups[encoder, THROUGH][0]["flops"] if "flops" in row else 1
        row["operations"] = row.get("flops", 0) / unit
        out.append({**row, "n_seeds": len(same), "way": way})
    return out


def markdown(pairs: Mapping[str, Mapping]) -> str:
    """The tables of all pairs."""
    lines = ["# Fine-tuning a generator through the ODE", "", SAID, "", *at_edges(pairs)]
    for name, found in pairs.items():
        facts = found["facts"]
        lines += ["", f"## {name}", "", f"`{found['about']['command']}`", ""]
        lines += [sentence(facts), "", *table(HEADS, map(cells, means(found["rows"])))]
        if found["stops"]:
            lines += ["", caution(found["rows"]), ""]
            lines += table(STOPS, map(stop_cells, found["stops"]))
    return "\n".join(lines) + "\n"


def edge(row: Row) -> str:
    """At which edge of its grid a row's learning rate stands; empty within it, or without one."""
    lrs, lr = row.get("lrs", ()), row.get("lr")
    return next((k for k, f in EDGES.items() if lrs and lr == f(lrs)), "")


def at_edges(pairs: Mapping[str, Mapping]) -> list[str]:
    """A table: how often each way's rate, chosen once a pair and encoder, stands at an edge."""
    found: dict[object, list[str]] = {}
    for rows in (pair["rows"] for pair in pairs.values()):
        chosen = {(r["encoder"], r["way"]): edge(r) for r in rows if r.get("lrs")}
        for (_, way), where in chosen.items():
            found.setdefault(way, []).append(where)
    heads = ("way", "rates chosen", *(f"at the {where} edge" for where in EDGES))
    return table(heads, [[w, len(x), *map(x.count, EDGES)] for w, x in found.items()])


def caution(rows: Sequence[Row]) -> str:
    """What the table of t' may not be read for: one seed beside the deviation of all seeds."""
    over = [r["accuracy"] for r in rows if (r["encoder"], r["way"]) == (ROWS, THROUGH)]
    spread = (
        f"{100 * statistics.stdev(over):.1f} points"
        if len(over) > 1
        else "an unknown amount"
    )
    return (
        f"For every t', one seed, at the rate that was chosen for {THROUGH!r} above. Seeds of that "
        f"row differ by {spread} (one standard deviation): this puts no t' before another."
    )


def sentence(facts: Row) -> str:
    """What the generator was worth at home, and when it would pay."""
    home = [f"{100 * facts[k]:.1f} %" for k in ("originals_at_home", "samples_at_home")]
    steps, networks = facts["reach_steps"], facts["networks"]
    pays = "Plain training did not reach the fine-tuned generator's accuracy."
    if steps is not None:
        pays = (
            f"Plain training from a sample reaches the fine-tuned generator's accuracy in "
            f"{steps} steps (first seed, VAE): from {networks:.0f} networks on the generator costs "
            "less."
        )
    return (
        f"{facts['train']} networks of {facts['base']}, {facts['images']} training images of "
        f"{facts['target']}. At home: originals {home[0]}, samples {home[1]}. {pays}"
    )


def cells(row: Row) -> list[str]:
    """A way's row of the table."""
    accuracy = f"{100 * row['accuracy']:.1f}"
    if row["n_seeds"] > 1:
        accuracy = with_interval(row["accuracy"], row["accuracy_pm"])
    scales = {"sd": 100, "differ": 100, "apart": 1, "early": 1}
    rest = ["" if row[k] is None else f"{x * row[k]:.1f}" for k, x in scales.items()]
    last = [f"{row['operations']:.2f}", ""]
    if row.get("lr"):
        last[1] = f"{row['lr']:g}" + (f" ({where} edge)" if (where := edge(row)) else "")
    return [
        row["encoder"], row["way"], f"{row['n_seeds']} x {row['n']}", accuracy, *rest, *last
    ]  # fmt: skip


def stop_cells(row: Row) -> list[str]:
    """The row of one t'."""
    words = [f"{row['stop']:.2f}"] + [f"{100 * row[k]:.1f}" for k in ("accuracy", "differ")]
    words += [f"{row['saved_bytes'] / 1e3:.0f}", f"{1e3 * row['seconds']:.0f}"]
    return [*words, f"{row['norm']:.2f}"]
