"""A zoo's generator fine-tuned on another data set, beside plain training: table 4 of FLoWN."""

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from hyperlab.base import ConfigError, distinct, stream
from hyperlab.evaluation import through
from hyperlab.evaluation.ceilings import READS
from hyperlab.evaluation.tables import Row, table, with_interval
from hyperlab.evaluation.through import (
    ANCHORED,
    CODES,
    FRESH,
    ROWS,
    SHARED,
    SINGLE,
    THROUGH,
    THROUGHS,
    Setting,
    StudyConfig,
    early,
    judge,
)
from hyperlab.weights import generate, recipes, zoo_store
from hyperlab.weights.generate import Maker
from hyperlab.weights.novelty import Originals
from hyperlab.weights.originals import images_for, images_of, originals_of
from hyperlab.weights.recipes import Splits
from hyperlab.weights.zoo import accuracies

import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script
import study

OUT = Path("results/through.json")
PAIRS = "digits:glyphs,glyphs:digits"
BEFORE = "before"
# Learning rates of Adam that are tried on validation images, by what is moved.
LRS = MappingProxyType(
    {
        THROUGH: (3e-4, 1e-3),
        ANCHORED: (3e-4, 1e-3),
        SHARED: (3e-3, 1e-2),
        SINGLE: (3e-3, 1e-2),
        FRESH: (3e-3, 1e-2),
        CODES: (3e-2, 1e-1),
    }
)
HEADS = (
    "encoder", "way", "n", "accuracy", "sd", "differ", "apart", "early", "operations", "rate"
)  # fmt: skip
NOTE = (
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


def main(
    pairs: Annotated[str, typer.Option(help="base:target, with commas")] = PAIRS,
    scale: script.Scale = "laptop",
    stops: Annotated[bool, typer.Option(help="also every t'")] = False,
    out: Annotated[
        Path, typer.Option(help="to write; what it has of just this is kept")
    ] = OUT,
    data: script.Data = None,
) -> None:
    """Some minutes a pair. A base is digits, glyphs or objects, or the store of a zoo."""
    config = StudyConfig.at(scale)
    about = study.about("torch", config=repr(config))
    STUDY.begun(out)  # an error for another script's file, before images are read
    parts = [pair_of(pair) for pair in script.words(pairs)]
    names = [
        f"{Path(base).stem.removeprefix('zoo_')} to {target}" for base, target in parts
    ]
    distinct(names, "pairs")
    named, asked = dict(zip(names, parts, strict=True)), {}
    for name, (base, target) in named.items():  # all is there before the first is measured
        zoo = zoo_store.find_zoo(base)
        if target == zoo.dataset:
            raise ConfigError(f"{name}: its networks know {target}; name another data set")
        images = {target: images_for(zoo, target, root=data)}
        images[zoo.dataset] = images_of(zoo, config.n_eval, root=data)
        asked[name] = study.made_of(zoo, images, config, stops=stops)

    def new(name: str) -> Row:
        return measure(*named[name], config, stops=stops, root=data)

    STUDY.run(out, asked, new, about)


def pair_of(text: str) -> tuple[str, str]:
    """ "digits:glyphs" -> ("digits", "glyphs")."""
    base, colon, target = text.rpartition(":")
    if not colon:
        raise ConfigError(f"a pair is base:target, e.g. digits:glyphs; got {text!r}")
    return base, target


def measure(
    base: str,
    target: str,
    config: StudyConfig,
    *,
    stops: bool = False,
    root: Path | None = None,
) -> Row:
    """Table 4 of FLoWN for one base zoo and one target, and the controls that it lacks.

    Args:
        stops: also what every t' costs and gives, in codes of rows.
    """
    zoo = zoo_store.find_zoo(base)
    splits = images_for(zoo, target, root=root)
    known = images_of(zoo, config.n_eval, root=root)
    originals = originals_of(zoo, known, generator=stream(0, "split"))
    facts = {"base": zoo.dataset, "target": target, "network": zoo.architecture.name}
    facts |= {"train": len(originals.train), "images": len(splits.train.labels)}
    rows, of_stops = [], []
    for kind, names in {ROWS: tuple(LRS), READS: (THROUGH, SHARED)}.items():
        settings = settings_of(originals, kind, splits, config)
        found = compare(settings, names)
        rows += [{"encoder": kind, **row} for row in found]
        if kind == ROWS:
            facts |= at_home(settings[0], originals) | breaks_even(settings[0], found)
            lr = next(r["lr"] for r in found if r["way"] == THROUGH)
            of_stops = by_stop(settings[0], lr) if stops else []
    return {"facts": facts, "rows": rows, "stops": of_stops}


def settings_of(
    originals: Originals, kind: str, splits: Splits, config: StudyConfig
) -> list[Setting]:
    """One encoder, and a flow in its codes for every seed."""
    encoder = through.encoder_of(originals, kind, config)
    return [
        Setting(*through.maker_of(originals, encoder, config, seed), splits, config, seed)
        for seed in config.seeds
    ]


def run(
    setting: Setting, way: str, lr: float, plan: tuple[int, int]
) -> tuple[Float[Tensor, " n params"], Maker]:
    """The networks that a way ends with, and the maker if it changed one."""
    n, updates = plan
    config = replace(setting.config.through, lr=lr, updates=updates)
    maker, train, g = (
        setting.maker,
        setting.splits.train,
        stream(setting.seed, "through", way),
    )
    if way in THROUGHS:
        config = replace(config, anchor=float(way == ANCHORED))
        tuned = generate.finetune_through(
            maker, train, config, generator=g, codes=setting.codes
        )
        return setting.sampled(tuned), tuned
    make, points = through.same, setting.sampled(maker)[:n]
    if way == FRESH:
        fresh = stream(setting.seed, "through", "untrained")
        points = recipes.untrained(maker.architecture, "kaiming_uniform", fresh)[None]
    if way == CODES:
        make, points = maker.encoder.decode, maker.encoder.encode(points)
    moves = generate.descend(make, points, maker.architecture, train, config, generator=g)
    return make(deque(moves, maxlen=1).pop()).detach(), maker


def of_way(
    settings: Sequence[Setting], way: str, plan: tuple[int, int], flops: int
) -> list[Row]:
    """A row of every setting; the learning rate is the first one's best on validation images."""
    rows: list[Row] = []
    for setting in settings:
        tried = []
        for lr in [rows[0]["lr"]] if rows else LRS[way]:
            w, maker = run(setting, way, lr, plan)
            row = {"way": way, "seed": setting.seed, "lr": lr, "lrs": [*LRS[way]]}
            row["updates"] = plan[1]
            row |= {"flops": flops * plan[1] * (1 if way in THROUGHS else plan[0])}
            row["early"] = early(setting, maker) if way in THROUGHS else None
            tried.append(row | judge(setting, w))
        rows.append(max(tried, key=lambda row: row["val"]))
    return rows


def compare(settings: Sequence[Setting], names: Sequence[str] = tuple(LRS)) -> list[Row]:
    """The samples before, and every way of changing them, over settings that differ in the seed."""
    first, rows = settings[0], []
    about = (first.maker, first.codes, first.splits.train, first.config.through)
    count = through.operations(*about)
    for setting in settings:
        row = {"way": BEFORE, "seed": setting.seed, "early": early(setting, setting.maker)}
        rows.append(row | judge(setting, setting.sampled(setting.maker)))
    plans = through.ways(first, count)
    for way in tqdm(names, desc="ways"):
        rows += of_way(settings, way, plans[way], count[way])
    return rows


def reach(setting: Setting, goal: float, *, lr: float, most: int = 300) -> int | None:
    """Steps of plain training until eight samples have that accuracy on validation images.

    None: they do not in so many steps.
    """
    config = replace(setting.config.through, lr=lr, updates=most)
    network, g = setting.maker.architecture, stream(setting.seed, "through", "reach")
    val, w = (
        setting.splits.val.first(setting.config.n_eval),
        setting.sampled(setting.maker)[:8],
    )
    moves = generate.descend(
        through.same, w, network, setting.splits.train, config, generator=g
    )
    for step, now in enumerate(moves):
        if step % 5 == 0 and accuracies(network, now, *val).mean() >= goal:
            return step
    return None


def by_stop(setting: Setting, lr: float) -> list[Row]:
    """For every t' what an update costs, and what the networks are worth at the end."""
    config = setting.config.through
    rows = through.costs(setting.maker, setting.splits.train, config)
    for row in tqdm(rows, desc="t'"):
        stopped = replace(config, detach=row["stop"])
        at = replace(setting, config=replace(setting.config, through=stopped))
        row |= judge(at, run(at, THROUGH, lr, (setting.config.n, config.updates))[0])
    return rows


def at_home(setting: Setting, originals: Originals) -> Row:
    """Accuracy on the base's own test images: of its networks, and of samples before tuning."""
    rows = {"originals": originals.train, "samples": setting.sampled(setting.maker)}
    network = originals.architecture
    return {
        f"{k}_at_home": float(accuracies(network, w, *originals.test).mean())
        for k, w in rows.items()
    }


def breaks_even(setting: Setting, rows: Sequence[Row]) -> Row:
    """Steps of plain training to the fine-tuned generator's accuracy, and for how many networks.

    From `networks` networks on, generating them costs less than training each from its sample.
    """
    of_seed = {r["way"]: r for r in rows if r["seed"] == setting.seed}
    tuned, plain = of_seed[THROUGH], of_seed[SHARED]
    steps = reach(setting, tuned["val"], lr=plain["lr"])
    each = plain["flops"] / plain["updates"] / plain["n"]
    networks = tuned["flops"] / (max(1, steps) * each) if steps is not None else None
    return {"reach_steps": steps, "networks": networks}


def markdown(pairs: Mapping[str, Mapping]) -> str:
    """The tables of all pairs."""
    lines = ["# Fine-tuning a generator through the ODE", "", NOTE, "", *at_edges(pairs)]
    for name, found in pairs.items():
        facts = found["facts"]
        lines += ["", f"## {name}", "", f"`{found['about']['command']}`", ""]
        lines += [
            sentence(facts),
            "",
            *table(HEADS, map(cells, through.means(found["rows"]))),
        ]
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


STUDY = study.Study("pairs", markdown)

if __name__ == "__main__":
    script.run(main)
