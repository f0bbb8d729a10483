"""The tables of what encoders keep and generators make."""

import re
import statistics
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

from .generators import Row
from .tables import interval, table, with_interval, written

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
    "Accuracies in %, on test images, of all networks a generator made; sd over networks; ± half "
    "a 95 % interval over generator seeds (Student's t). Five chosen: on validation images. IoU: "
    "of wrong predictions with the most alike training network. Distance: to the nearest training "
    "network, 1 is what held-out networks have. Apart: of two of them. Ensemble: points that ten "
    "together gain."
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
    """Mean over the seeds of every figure, and half an interval of the accuracy over them."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row["encoder"], row["generator"])
        groups.setdefault(key, []).append(row)
    out = []
    for same in groups.values():
        numbers = [k for k, v in same[0].items() if isinstance(v, float) or k == "failures"]
        mean = {k: statistics.fmean(r[k] for r in same) for k in numbers}
        mean["accuracy_pm"] = interval([r["accuracy"] for r in same])
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
            lines += [f"{encoder}, {anew(found['about'], about)}: `{about['command']}`", ""]
        heads = ["generator", "n", *HEADS.values()]
        lines += table(heads, map(cells, summary(found["generators"])))
        if old := [row for row in found.get("replaced", []) if "generator" in row]:
            lines += ["", "Replaced, and seen before:", ""]
            lines += table(heads, map(cells, summary(old)))
        if "epochs" in found["facts"]:
            lines += ["", pays(found)]
    return "\n".join(lines) + "\n"


def anew(about: Mapping[str, object], again: Mapping[str, object]) -> str:
    """What an encoder's second measurement differs in: that rows had been seen, and the steps."""
    runs = (re.search(r"flow=.*?steps=(\d+)", str(x.get("config"))) for x in (about, again))
    first, then = (found and found[1] for found in runs)
    more = f", with {then} steps of flow and diffusion instead of {first}"
    return "measured again after its rows had been seen" + (more if first != then else "")


def breaks_even(found: Mapping[str, object]) -> tuple[float, float]:
    """From how many networks on generating costs less than training each plainly.

    Without the cost of the zoo, and with that of the networks the generator was fitted to.
    """
    facts = found["facts"]
    n = next(row["n"] for row in found["generators"] if row["generator"] == "FLoWN")
    alone = facts["equal_epochs"] * n / facts["epochs"]
    return alone, alone + facts["train"]


def pays(found: Mapping[str, object]) -> str:
    """What equal compute is, and where it ends."""
    facts, (alone, zoo) = found["facts"], breaks_even(found)
    total = alone * facts["epochs"]
    return (
        f"Operations: fitting the VAE of rows and its flow costs {total:.0f} epochs of plain "
        f"training of one network, {facts['equal_epochs']:.1f} for each generated one. `training, "
        "equal compute`: the held-out networks at the last epoch up to that. The zoo's trained "
        f"for {facts['epochs']}, so generating costs less from {ceil(alone)} networks on; with the "
        f"training of the {facts['train']} that it was fitted to, from {ceil(zoo)} on."
    )


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
        words["accuracy"] = with_interval(row["accuracy"], row["accuracy_pm"])
    words["failures"] = f"{row['failures']:.0f}"
    return [name, f"{row['n_seeds']} x {row['n']}", *words.values()]
