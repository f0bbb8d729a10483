"""Generated networks as starts of fine-tuning, against others: table 3 of FLoWN at our scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

from hyperlab.base import ConfigError, choose, distinct, stream
from hyperlab.evaluation.tables import (
    Row,
    bands,
    interval,
    number,
    rounded,
    table,
    with_interval,
)
from hyperlab.weights import encoders, flow, recipes, zoo_store
from hyperlab.weights.baselines import BASELINES
from hyperlab.weights.encoders import EncoderConfig
from hyperlab.weights.flow import FlowConfig
from hyperlab.weights.novelty import Originals
from hyperlab.weights.originals import originals_of
from hyperlab.weights.recipes import Images, Recipe, Splits
from hyperlab.weights.zoo import SCORES, Zoo, ZooConfig, fine_tune

import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script
import study

Curves = Mapping[str, Tensor]  # start -> accuracies, epochs x networks

OUT = Path("results/starts.json")
MADE, COPY, RANDOM = "FLoWN", "copy", "random"
UNSEEN = MappingProxyType(  # zoo's data set -> others that its networks never saw
    {
        "digits": ("glyphs",),
        "glyphs": ("digits",),
        "objects": ("textures",),
        "cifar10": ("clothing",),
        **dict.fromkeys(
            ("mnist", "fashion_mnist", "notmnist"), ("usps", "kmnist", "devanagari")
        ),
    }
)
PLACES = MappingProxyType(
    {"middle": lambda epochs: len(epochs) // 2, "last": lambda epochs: len(epochs) - 1}
)
CLASSES = MappingProxyType({"devanagari": tuple(range(36, 46))})  # its ten digits
NOTE = (
    "Accuracies in % on test images, mean over networks ± half a 95 % interval (Student's t) over "
    "what stands above each table; no network is chosen. Every start is trained by the zoo's own "
    "recipe (Adam, its rate and batch), on the same batches. Ahead: the interval of the difference "
    "is above zero."
)


@dataclass(frozen=True, kw_only=True)
class StartsConfig:
    """Which networks training starts from, and how long it lasts."""

    vae: EncoderConfig = EncoderConfig(width=256, steps=600)
    flow: FlowConfig = FlowConfig(width=128, depth=2, steps=4_000, batch=64, lr=2e-3)
    controls: tuple[str, ...] = (COPY, "copy + noise 0.3")  # of `baselines.BASELINES`
    seeds: tuple[int, ...] = (0, 1, 2)  # of the flows
    n: int = 2  # networks of every start and seed
    epochs: tuple[int, ...] = (0, 1, 5, 25, 50)  # of fine-tuning that are reported
    bar: tuple[int, int] = (1, 5)  # epochs of the generated, and of the untrained ones
    n_train: int = 1_000  # most images of an epoch
    n_eval: int = 1_000  # most test images
    place: str = "middle"  # of the epoch whose networks are learned and copied, see PLACES

    def __post_init__(self) -> None:
        choose(PLACES, self.place)
        for name in self.controls:
            choose(BASELINES, name)
        distinct(self.seeds, "seeds")
        if len(self.seeds) * self.n < 2 or min(self.n_train, self.n_eval) < 1:
            raise ConfigError(f"want two networks or more, and images: {self}")
        if not set(self.bar) <= set(self.epochs):
            raise ConfigError(f"the bar's epochs {self.bar} are not in {self.epochs}")

    @classmethod
    def at(cls, scale: str) -> "StartsConfig":
        """Presets; "paper" has more networks, and nothing of FLoWN's settings."""
        smoke = cls(
            vae=EncoderConfig(width=128, steps=150, batch=32),
            flow=FlowConfig(width=64, depth=2, steps=500, batch=32, lr=3e-3),
            seeds=(0, 1),
            epochs=(0, 1, 2),
            bar=(1, 2),
            n_train=400,
            n_eval=200,
        )
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls(n=10)}, scale)

    @property
    def name(self) -> str:
        """Tells one comparison of a zoo from another."""
        return f"{self.place} epoch, {self.epochs[-1]} epochs of {self.n_train} images"


def main(
    zoos: Annotated[str, typer.Option(help="stores or shipped zoos, with commas")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    unseen: Annotated[
        str, typer.Option(help="data sets, or none; empty: those known")
    ] = "",
    out: Annotated[Path, typer.Option(help="to write; joins what is in it")] = OUT,
    data: script.Data = None,
    images: Annotated[int, typer.Option(help="of an epoch; 0: the scale's")] = 0,
    place: Annotated[str, typer.Option(help="epoch of the zoo: middle or last")] = "middle",
    last: Annotated[int, typer.Option(help="epoch; 0: the scale's")] = 0,
) -> None:
    """Some minutes a data set on one core. What is there of just this is not done again."""
    config = replace(StartsConfig.at(scale), place=place)
    if images:
        config = replace(config, n_train=images)
    if last:
        config = replace(config, epochs=tuple(e for e in config.epochs if e <= last))
    about = study.about("torch", "scipy", seed=seed, config=repr(config))
    others = () if unseen == "none" else script.words(unseen) or None
    found = {
        f"{name}, {config.name}": opened(path, config, others, root=data)
        for name, path in script.by_stem(zoos).items()
    }
    asked = {
        name: study.made_of(one.zoo, one.images, config, seed=seed)
        for name, one in found.items()
    }
    STUDY.run(out, asked, lambda name: measure(found[name], config, seed=seed), about)


class Opened(NamedTuple):
    """The networks of a zoo at one epoch, their training, and images: their own, then others."""

    zoo: Zoo
    training: ZooConfig
    images: dict[str, Splits]


def opened(
    path: Path | str,
    config: StartsConfig,
    unseen: Sequence[str] | None = None,
    *,
    root: Path | None = None,
) -> Opened:
    """A zoo of many seeds, and all images that its comparison wants.

    Args:
        unseen: data sets that its networks never saw; None: those of `UNSEEN`.
    """
    zoo, training = zoo_store.open_zoo(path)
    zoo_store.require_training(training, path)
    zoo = at(zoo, config.place)
    others = UNSEEN.get(zoo.dataset, ()) if unseen is None else unseen
    distinct([zoo.dataset, *others], "data sets seen and not seen")
    names = (zoo.dataset, *others)
    images = {name: images_of(training.recipe, name, config, root=root) for name in names}
    zoo.require(images[zoo.dataset])
    return Opened(zoo, training, images)


def at(zoo: Zoo, place: str) -> Zoo:
    """The networks at the middle or the last one of the kept epochs.

    FLoWN's generator knows networks after 21 to 25 of 50 epochs: the middle. They have trained
    four times as long as the untrained networks that they are compared with, which in a zoo of
    ten epochs only the last have nearly done.

    Source: FLoWN, arXiv:2503.19371, table 3.
    """
    if len(zoo) < 2:
        raise ConfigError("want a zoo of many seeds, got the checkpoints of one run")
    k = choose(PLACES, place)(zoo.epochs)
    kept = {name: getattr(zoo, name)[:, k : k + 1] for name in ("w", *SCORES)}
    return replace(zoo, epochs=(zoo.epochs[k],), **kept)


def images_of(
    recipe: Recipe, dataset: str, config: StartsConfig, *, root: Path | None = None
) -> Splits:
    """Images of a data set, prepared as the networks of a recipe are used to; ten classes of it."""
    found = recipes.load(replace(recipe, dataset=dataset), root=root)
    if dataset in CLASSES:
        found = only(found, CLASSES[dataset])
    if found.n_classes > recipe.network().n_classes:
        raise ConfigError(
            f"{dataset} has {found.n_classes} classes, the networks have "
            f"{recipe.network().n_classes}; have ten of {sorted(CLASSES)}"
        )
    return found.first(config.n_train, config.n_eval)


def only(splits: Splits, classes: Sequence[int]) -> Splits:
    """The images of some classes, numbered from 0 in the order given."""
    number = torch.full((splits.n_classes,), -1)
    number[list(classes)] = torch.arange(len(classes))

    def cut(part: Images) -> Images:
        labels = number[part.labels]
        return Images(part.images[labels >= 0], labels[labels >= 0])

    parts = (cut(part) for part in (splits.train, splits.val, splits.test))
    return Splits(*parts, len(classes), splits.origin, splits.checksums)


def starts_of(
    originals: Originals, init: str, config: StartsConfig, *, seed: int = 0
) -> dict[str, Float[Tensor, " n params"]]:
    """Start -> networks: FLoWN's, the controls, and untrained ones.

    Several flows learn the codes of one VAE; each makes as many networks. (FLoWN, table 3, takes
    those of its conditional generator, and random weights as the published zoos have them.)

    Args:
        init: of the untrained networks, the recipe's.
        seed: of the VAE.
    """
    w, k, g = originals.train, config.n, stream(seed, "encoder", "VAE")
    encoder = encoders.fit_vae(w, config.vae, generator=g)
    codes = encoder.encode(w)
    found = {name: [] for name in (MADE, *config.controls, RANDOM)}
    for each in config.seeds:
        flown = flow.fit_flow(codes, config.flow, generator=stream(each, "flow"))
        drawn = flown.sample(k, generator=stream(each, "sample", MADE))
        found[MADE].append(encoder.decode(drawn))
        for name in config.controls:
            found[name].append(BASELINES[name](w, k, stream(each, "sample", name)))
        g = stream(each, "sample", RANDOM)
        new = [recipes.untrained(originals.architecture, init, g) for _ in range(k)]
        found[RANDOM].append(torch.stack(new))
    return {name: torch.cat(parts) for name, parts in found.items()}


def measure(opened: Opened, config: StartsConfig, *, seed: int = 0) -> Row:
    """Facts of a zoo; a row of every data set, start and epoch; and the differences."""
    zoo, training, images = opened
    g, recipe = stream(seed, "split"), training.recipe
    originals = originals_of(zoo, images[zoo.dataset], generator=g)
    starts = starts_of(originals, recipe.init, config, seed=seed)
    longer = replace(training, epochs=config.epochs)
    rows, gaps = [], []
    for name, splits in tqdm(images.items(), desc="data sets"):
        curves = fine_tune(starts, zoo.architecture, splits, longer, seed=seed)
        more = {"seen": name == zoo.dataset, "n_train": len(splits.train.labels)}
        more |= {"n_test": len(splits.test.labels)}
        rows += [row | more for row in rows_of(curves, config, name)]
        gaps += gaps_of(curves, config, name)
    facts = {"dataset": zoo.dataset, "network": zoo.architecture.name}
    facts |= {"epoch": zoo.epochs[0], "train": len(originals.train), "init": recipe.init}
    facts |= {"lr": recipe.lr, "batch": training.batch}
    return {"facts": facts, "rows": rows, "gaps": gaps}


def rows_of(curves: Curves, config: StartsConfig, dataset: str) -> list[Row]:
    """A row of every start and epoch: mean over networks, with its 95 % interval over seeds."""
    rows, n = [], len(config.seeds)
    for start, found in curves.items():
        for epoch, values in zip(config.epochs, found, strict=True):
            each = by_seed(values, n)
            row = {"start": start, "dataset": dataset, "epoch": epoch}
            row |= {"accuracy": float(values.mean()), "accuracy_pm": interval(each)}
            row |= {"n": len(values), "unit": "seeds", "n_units": n, "seeds": each.tolist()}
            rows.append(rounded(row))
    return rows


def by_seed(values: Float[Tensor, " n"], n_seeds: int) -> Float[Tensor, " seeds"]:
    """The mean of each seed's networks: they lie behind each other, as many of each."""
    return values.unflatten(0, (n_seeds, -1)).mean(1)


def gap(
    a: Float[Tensor, " n"], b: Float[Tensor, " n"], n_seeds: int
) -> dict[str, float | None]:
    """How far the mean of a is above that of b, of each seed; the mean, and its interval."""
    each = by_seed(a, n_seeds) - by_seed(b, n_seeds)
    return rounded({"gap": float(each.mean()), "gap_pm": interval(each)})


def gaps_of(curves: Curves, config: StartsConfig, dataset: str) -> list[Row]:
    """The bar of every start, against untrained networks that train longer; then the copies'.

    A start is "ahead" if the whole interval of the difference is above zero: never without one.
    """
    early, late = (config.epochs.index(epoch) for epoch in config.bar)
    last = len(config.epochs) - 1
    pairs = [(s, early, RANDOM, late) for s in curves if s != RANDOM]
    pairs += [(s, last, RANDOM, last) for s in curves if s != RANDOM]
    if COPY in curves:
        pairs += [(MADE, k, COPY, k) for k in range(len(config.epochs))]
    rows = []
    for start, k, other, m in pairs:
        found = gap(curves[start][k], curves[other][m], len(config.seeds))
        names = {"start": start, "epoch": config.epochs[k]}
        names |= {"other": other, "other_epoch": config.epochs[m]}
        half = found["gap_pm"]
        ahead = half is not None and found["gap"] > half
        rows.append({"dataset": dataset, **names, **found, "ahead": ahead})
    return rows


def markdown(zoos: Mapping[str, Mapping]) -> str:
    """The curves of every zoo and data set as tables, then who is ahead of whom."""
    lines = ["# Starts of fine-tuning", "", NOTE]
    for name, found in zoos.items():
        facts = found["facts"]
        lines += ["", f"## {name}", ""]
        lines += [f"`{found['about']['command']}`", ""]
        lines += [f"Of {facts['train']} networks after epoch {facts['epoch']}."]
        for dataset in dict.fromkeys(row["dataset"] for row in found["rows"]):
            lines += ["", *curves_table(found["rows"], dataset)]
        lines += ["", *gaps_table(found["gaps"])]
    return "\n".join(lines) + "\n"


def curves_table(rows: Sequence[Row], dataset: str) -> list[str]:
    """Of one data set: a row of each start, a column of each epoch."""
    chosen = [row for row in rows if row["dataset"] == dataset]
    first, parts = chosen[0], bands(rows, dataset)
    seen = "its own images" if first["seen"] else "never seen"
    line = (
        f"**{dataset}** ({seen}; {first['n_train']} images an epoch, {first['n_test']} test "
        f"images, {first['n']} networks of each start; intervals over {first['n_units']} "
        f"{first['unit']})"
    )
    epochs = [row["epoch"] for row in chosen if row["start"] == first["start"]]
    cells = [
        [start, *map(with_interval, means.tolist(), halves.tolist())]
        for start, (_, means, halves) in parts.items()
    ]
    return [line, "", *table(["start, accuracy after epochs", *epochs], cells)]


def gaps_table(gaps: Sequence[Row]) -> list[str]:
    """A row of each difference."""
    heads = ("data set", "start", "against", "points", "ahead")
    cells = [
        [
            row["dataset"],
            f"{row['start']}, {row['epoch']}",
            f"{row['other']}, {row['other_epoch']}",
            with_interval(row["gap"], number(row["gap_pm"])),
            "yes" if row["ahead"] else "no",
        ]
        for row in gaps
    ]
    return table(heads, cells)


STUDY = study.Study("zoos", markdown)

if __name__ == "__main__":
    script.run(main)
