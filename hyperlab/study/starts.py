"""Are generated networks good to start from? Fine-tuning, on data sets seen and never seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError, Progress, choose, distinct, silent, stream
from ..models.cnn import Architecture
from ..weights import flow, recipes
from ..weights.baselines import BASELINES
from ..weights.encoders import EncoderConfig
from ..weights.flow import FlowConfig
from ..weights.novelty import Originals
from ..weights.recipes import Images, Recipe, Splits, untrained
from ..weights.zoo import SCORES, Zoo, ZooConfig, accuracies, checkpoints
from ..weights.zoo_store import open_zoo, require_training
from . import generators
from .generators import GeneratorsConfig, Row
from .tables import interval, rounded

Curves = Mapping[str, Tensor]  # start -> accuracies, epochs x networks
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


def named(config: StartsConfig) -> str:
    """Tells one comparison of a zoo from another."""
    return f"{config.place} epoch, {config.epochs[-1]} epochs of {config.n_train} images"


def opened(path: Path | str) -> tuple[Zoo, ZooConfig]:
    """A zoo, see `zoo_store.open_zoo`, and how its networks were trained.

    Raises:
        DataMissingError: no such zoo.
        ConfigError: it does not say how they were.
    """
    zoo, trained = open_zoo(path)
    require_training(trained, path)
    return zoo, trained


def at(zoo: Zoo, place: str) -> Zoo:
    """The networks at the middle or the last one of the kept epochs.

    FLoWN's generator knows networks after 21 to 25 of 50 epochs: the middle. They have trained
    four times as long as the untrained networks that they are compared with, which in a zoo of
    ten epochs only the last have nearly done.

    Source: FLoWN, arXiv:2503.19371, table 3.

    Raises:
        ConfigError: the zoo is one run, or an unknown place.
    """
    if len(zoo) < 2:
        raise ConfigError("want a zoo of many seeds, got the checkpoints of one run")
    k = choose(PLACES, place)(zoo.epochs)
    kept = {name: getattr(zoo, name)[:, k : k + 1] for name in ("w", *SCORES)}
    return replace(zoo, epochs=(zoo.epochs[k],), **kept)


def images_of(
    recipe: Recipe, dataset: str, config: StartsConfig, *, root: Path | str | None = None
) -> Splits:
    """Images of a data set, prepared as the networks of a recipe are used to.

    Raises:
        DataMissingError: the files are not there.
        ConfigError: no such data set, it is grey and the networks want colours, or it has more
            than ten classes and no ten of them are known.
    """
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

    def some(part: Images) -> Images:
        labels = number[part.labels]
        return Images(part.images[labels >= 0], labels[labels >= 0])

    parts = (some(part) for part in (splits.train, splits.val, splits.test))
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
    ways = generators.fits(originals, GeneratorsConfig(vae=config.vae))
    encoder = ways["VAE"](stream(seed, "encoder", "VAE"))
    codes, w, k = encoder.encode(originals.train), originals.train, config.n
    found = {name: [] for name in (MADE, *config.controls, RANDOM)}
    for number in config.seeds:
        flown = flow.fit_flow(codes, config.flow, generator=stream(number, "flow"))
        drawn = flown.sample(k, generator=stream(number, "sample", MADE))
        found[MADE].append(encoder.decode(drawn))
        for name in config.controls:
            found[name].append(BASELINES[name](w, k, stream(number, "sample", name)))
        g = stream(number, "sample", RANDOM)
        new = [untrained(originals.architecture, init, g) for _ in range(k)]
        found[RANDOM].append(torch.stack(new))
    return {name: torch.cat(parts) for name, parts in found.items()}


def fine_tune(
    starts: Mapping[str, Float[Tensor, " n params"]],
    network: Architecture,
    splits: Splits,
    training: ZooConfig,
    *,
    seed: int = 0,
) -> dict[str, Float[Tensor, " epochs n"]]:
    """Train the networks of all starts side by side; accuracies on the test images.

    All see the same batches, and each has an Adam of its own that starts anew.

    Args:
        training: its recipe, batch and epochs are followed.
        seed: of the order of the images.
    """
    w = torch.cat(list(starts.values()))
    kept = checkpoints(training, network, splits, [seed], w)
    found = torch.stack([accuracies(network, row, *splits.test) for row in kept])
    parts = found.split([len(rows) for rows in starts.values()], 1)
    return dict(zip(starts, parts, strict=True))


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


def images(
    zoo: Zoo,
    recipe: Recipe,
    config: StartsConfig,
    unseen: Sequence[str] | None = None,
    *,
    root: Path | str | None = None,
) -> dict[str, Splits]:
    """Of the zoo's own data set, and of those that its networks never saw; as `study` wants them.

    Raises:
        ArtifactError: the zoo was trained with other images.
        ConfigError: a data set that comes twice, or was seen.
    """
    others = UNSEEN.get(zoo.dataset, ()) if unseen is None else unseen
    distinct([zoo.dataset, *others], "data sets seen and not seen")
    found = {n: images_of(recipe, n, config, root=root) for n in (zoo.dataset, *others)}
    zoo.require(found[zoo.dataset])
    return found


def study(
    path: Path | str,
    config: StartsConfig,
    unseen: Sequence[str] | None = None,
    *,
    seed: int = 0,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, object]:
    """Starts of one zoo, fine-tuned; a few seconds for a shipped one at scale "smoke".

    Args:
        path: of a store or file, or the name of a shipped zoo.
        unseen: data sets that its networks never saw; None: those of `UNSEEN`.

    Returns:
        Facts of the zoo; a row of every data set, start and epoch; and the differences.

    Raises:
        DataMissingError: no such zoo, or images are not there.
        ConfigError: the zoo is one run, or a data set does not fit.
    """
    zoo, trained = opened(path)
    zoo, recipe = at(zoo, config.place), trained.recipe
    found = images(zoo, recipe, config, unseen, root=root)
    home, draw = found[zoo.dataset], stream(seed, "split")
    originals = generators.originals_of(zoo, home, generator=draw)
    starts = starts_of(originals, recipe.init, config, seed=seed)
    training = replace(trained, epochs=config.epochs)
    rows, gaps = [], []
    for name, splits in progress(found.items(), total=len(found), desc="data sets"):
        curves = fine_tune(starts, zoo.architecture, splits, training, seed=seed)
        more = {"seen": name == zoo.dataset, "n_train": len(splits.train.labels)}
        more |= {"n_test": len(splits.test.labels)}
        rows += [row | more for row in rows_of(curves, config, name)]
        gaps += gaps_of(curves, config, name)
    return {"facts": _facts(zoo, trained, originals), "rows": rows, "gaps": gaps}


def _facts(zoo: Zoo, trained: ZooConfig, originals: Originals) -> Row:
    facts = {"dataset": zoo.dataset, "network": zoo.architecture.name}
    facts |= {"epoch": zoo.epochs[0], "train": len(originals.train)}
    return facts | {
        "init": trained.recipe.init,
        "lr": trained.recipe.lr,
        "batch": trained.batch,
    }
