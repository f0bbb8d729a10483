"""Zoos on disk: a store that is filled group by group, and one small file to ship."""

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from .. import __version__, checkpoint
from ..base import (
    PRETRAINED,
    ArtifactError,
    ConfigError,
    DataMissingError,
    Progress,
    choose,
    default_device,
    expanded,
    silent,
    tell,
)
from ..checkpoint import Checkpoint
from ..executor import Executor
from ..models.cnn import ARCHITECTURES, Architecture
from ..store import Column, Store, whole_address
from ..tasks import domains
from ..tasks.catalogue import CATALOGUE
from . import recipes, tails
from .recipes import Recipe, Splits
from .zoo import SCORES, Zoo, ZooConfig, train

KIND = "zoo"
SHIPPED = MappingProxyType(
    {n: PRETRAINED / f"zoo_{n}.safetensors" for n in ("digits", "glyphs", "objects")}
)
COLUMNS = MappingProxyType(
    {
        "w": Column(("network", "epoch", "param"), "f4"),
        **{name: Column(("network", "epoch"), "f4") for name in SCORES},
        "seed": Column(("network",), "i4"),
        "diverged": Column(("network",), "?"),
    }
)


class ZooStore(Store):
    """A zoo on disk; a batch of rows is one group of networks."""

    columns = COLUMNS
    kind = "zoo"
    script = "python data_scripts/train_zoo.py"

    @property
    def n_diverged(self) -> int:
        """Networks that diverged, among those that are there."""
        return int(self.group["diverged"][:].sum())

    def read(self, *, progress: Progress = silent) -> Zoo:
        """All networks that are there and did not diverge, in memory.

        Raises:
            ArtifactError: no group is complete, or one is damaged.
        """
        there = self.there
        if not there:
            raise ArtifactError(f"{self.path} holds no network yet; run: {self.script}")
        groups = [self.batch(b) for b in progress(there, total=len(there), desc="reading")]
        columns = {n: np.concatenate([g[n] for g in groups]) for n in COLUMNS}
        keep = ~columns["diverged"]
        arrays = {n: torch.from_numpy(columns[n][keep]) for n in ("w", *SCORES)}
        about = self.group.attrs
        return Zoo(
            architecture=architecture_of(about["network"]),
            epochs=tuple(about["epochs"]),
            seeds=tuple(columns["seed"][keep].tolist()),
            dataset=about["dataset"],
            checksums=dict(about.get("checksums", {})),
            **arrays,
        )


def train_zoo(
    path: Path | str,
    config: ZooConfig,
    *,
    executor: Executor = Executor(),  # noqa: B008 (frozen)
    root: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> ZooStore:
    """Train the networks of a zoo into the store at `path`, or those that it still lacks.

    Damaged groups count as missing. Several runs may fill one store.

    Args:
        executor: who does it; the numbers are the same.
        device: where; the workers of a cluster use their own.

    Raises:
        DataMissingError: the images are not there.
        ArtifactError: the store was made with another configuration or other images, or cannot
            be written to; or workers died.
    """
    store = create(path, config, root=root)
    store.sweep()
    groups = executor.take(sorted({*store.missing, *store.damaged(progress=progress)}))
    place = None if executor.scheduler else str(device)
    job = partial(_fill, whole_address(path), root, place)
    done = executor.each(job, groups, config)
    bar = progress(done, total=len(groups), desc=f"zoo ({config.recipe.dataset})")
    diverged = 0
    for found in bar:
        diverged += found
        tell(bar, diverged=diverged)
    return store


def create(
    path: Path | str, config: ZooConfig, *, root: Path | str | None = None
) -> ZooStore:
    """The empty store of a zoo, or the one that somebody has begun."""
    splits = _images(config.recipe, root, config.n_train, config.n_eval)
    network = config.recipe.network(splits.n_classes)
    about = {
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "network": described(network),
        "dataset": config.recipe.dataset,
        "epochs": list(config.kept),
        "origin": splits.origin,
        "checksums": dict(splits.checksums),
        "version": __version__,
    }
    counts = {"network": config.n_networks, "epoch": len(config.kept)}
    sizes = {**counts, "param": network.n_params}
    return ZooStore.create(path, sizes, batch=config.group, about=about)


def _images(recipe: Recipe, root: Path | str | None, n_train: int, n_eval: int) -> Splits:
    """The images of a zoo, kept in memory while no file of theirs changes."""
    files = domains.stamp(recipe.dataset, root) if recipe.dataset in CATALOGUE else ""
    return _kept(recipe, root, n_train, n_eval, files)


@lru_cache(maxsize=1)
def _kept(
    recipe: Recipe, root: Path | str | None, n_train: int, n_eval: int, _files: str
) -> Splits:
    return recipes.load(recipe, root=root).first(n_train, n_eval)


def _fill(
    path: str, root: Path | str | None, device: str | None, config: ZooConfig, group: int
) -> int:
    """Train and write one group; how many of its networks diverged."""
    splits = _images(config.recipe, root, config.n_train, config.n_eval)
    store, seeds = ZooStore.open(path), config.seeds(group)
    store.require({"checksums": dict(splits.checksums)})
    arrays = train(config, splits.to(device or default_device()), seeds)
    diverged = ~arrays["w"].isfinite().all((1, 2))
    arrays |= {"seed": torch.tensor(seeds), "diverged": diverged}
    store.write(group, {name: array.numpy() for name, array in arrays.items()})
    return int(diverged.sum())


def described(network: Architecture) -> dict[str, str | int]:
    """What `architecture_of` makes the same architecture from."""
    names = ("name", "channels", "n_classes", "activation")
    return {name: getattr(network, name) for name in names}


def architecture_of(told: Mapping[str, str | int]) -> Architecture:
    """The architecture of that name, with such channels, classes and activation."""
    options = {name: value for name, value in told.items() if name != "name"}
    return choose(ARCHITECTURES, told["name"])(**options)


def save_zoo(
    zoo: Zoo,
    path: Path | str,
    *,
    half: bool = False,
    trained: ZooConfig | None = None,
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """A zoo as one safetensors file, its weights in half precision if wanted.

    Args:
        trained: how; some studies train further networks so.
        about: joins the metadata, e.g. the command that made it.

    Raises:
        ConfigError: its networks are subsets of a host, or a reader's own modules.
    """
    if not isinstance(zoo.architecture, Architecture):
        raise ConfigError(
            f"{zoo.architecture.name} is none of {sorted(ARCHITECTURES)}; a tail: tails.save "
            "saves it; a module of your own: save `w` and keep its code"
        )
    tensors = {name: getattr(zoo, name) for name in ("w", *SCORES)}
    tensors |= {"seeds": torch.tensor(zoo.seeds)}
    if half:
        tensors["w"] = tensors["w"].half()
    spec = {"network": described(zoo.architecture), "dataset": zoo.dataset}
    spec |= {"epochs": zoo.epochs, "checksums": zoo.checksums and dict(zoo.checksums)}
    spec["trained"] = trained and dataclasses.asdict(trained)
    checkpoint.save(path, KIND, tensors, spec, about)


def shipped(name: str) -> Zoo:
    """A zoo that comes with the package: a hundred seeds, in half precision.

    Of `digits` after 2 and 10 epochs, of the drawn `glyphs` and `objects` after 10.
    """
    return load_zoo(choose(SHIPPED, name))


def load_zoo(path: Path | str) -> Zoo:
    """A zoo from such a file, its weights in single precision.

    Raises:
        DataMissingError: no such file.
        ArtifactError: the file is damaged, or is no zoo.
    """
    return _read(path)[0]


def _read(path: Path | str) -> tuple[Zoo, ZooConfig | None]:
    def make(found: Checkpoint) -> tuple[Zoo, ZooConfig | None]:
        return _made(found), _trained(found.spec["trained"])

    return checkpoint.load(path, KIND, make, f"run: {ZooStore.script}")


def _trained(told: Mapping | None) -> ZooConfig | None:
    """Of a zoo's configuration what further networks are trained by."""
    if told is None:
        return None
    counts = {name: told[name] for name in ("batch", "n_train")}
    return ZooConfig(recipe=Recipe(**told["recipe"]), **counts)


def _made(found: Checkpoint) -> Zoo:
    spec, tensors = found
    return Zoo(
        architecture=architecture_of(spec["network"]),
        epochs=tuple(spec["epochs"]),
        seeds=tuple(tensors["seeds"].tolist()),
        dataset=spec["dataset"],
        checksums=spec["checksums"],
        **{name: tensors[name].float() for name in ("w", *SCORES)},
    )


def find_zoo(name: Path | str) -> Zoo:
    """The zoo that `open_zoo` opens."""
    return open_zoo(name)[0]


def open_zoo(name: Path | str) -> tuple[Zoo, ZooConfig | None]:
    """A zoo and how its networks were trained; None of a tail, and where a file does not say it.

    Args:
        name: of a zoo that comes with the package, or the path of a store or file.

    Raises:
        DataMissingError: no such zoo.
    """
    path = str(expanded(str(SHIPPED.get(str(name), name))))
    if "://" not in path and not Path(path).exists():
        raise DataMissingError(
            f"no zoo at {path}; shipped are {', '.join(sorted(SHIPPED))}; else run: "
            f"{ZooStore.script}"
        )
    if Path(path).is_file():
        tail = checkpoint.kind_of(path) == tails.KIND
        return (tails.load(path), None) if tail else _read(path)
    store = ZooStore.open(path)
    return store.read(), _trained(store.group.attrs["config"])


def require_training(trained: ZooConfig | None, name: Path | str) -> None:
    """Raise ConfigError unless it is known how the networks of a zoo were trained."""
    if trained is None:
        raise ConfigError(
            f"{name} does not say how its networks were trained; take a store, or a file that "
            "save_zoo wrote with trained="
        )
