"""Zoos on disk: a store that is filled group by group, and one small file to ship."""

import dataclasses
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .. import __version__
from ..base import (
    ArtifactError,
    DataMissingError,
    Progress,
    choose,
    default_device,
    silent,
    tell,
    whole_file,
)
from ..crew import Crew
from ..models.cnn import ARCHITECTURES, Architecture
from ..store import Column, Store, whole_address
from . import recipes
from .recipes import Recipe, Splits
from .zoo import Zoo, ZooConfig, train

SCORES = ("accuracy", "val_accuracy", "loss")
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
            **arrays,
        )


def train_zoo(
    path: Path | str,
    config: ZooConfig,
    *,
    crew: Crew = Crew(),  # noqa: B008 (frozen)
    root: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> ZooStore:
    """Train the networks of a zoo into the store at `path`, or those that it still lacks.

    Damaged groups count as missing. Several runs may fill one store.

    Args:
        crew: who does it; the numbers are the same.
        device: where; the workers of a cluster use their own.

    Raises:
        DataMissingError: the images are not there.
        ArtifactError: the store was made with another configuration or other images, or cannot
            be written to; or workers died.
    """
    store = create(path, config, root=root)
    store.sweep()
    groups = crew.take(sorted({*store.missing, *store.damaged(progress=progress)}))
    place = None if crew.scheduler else str(device)
    job = partial(_fill, whole_address(path), root, place)
    done = crew.each(job, groups, config)
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
        "images": {"origin": splits.origin, "checksum": checksum(splits)},
        "version": __version__,
    }
    counts = {"network": config.n_networks, "epoch": len(config.kept)}
    sizes = {**counts, "param": network.n_params}
    return ZooStore.create(path, sizes, batch=config.group, about=about)


@lru_cache(maxsize=1)
def _images(recipe: Recipe, root: Path | str | None, n_train: int, n_eval: int) -> Splits:
    return recipes.load(recipe, root=root).first(n_train, n_eval)


def checksum(splits: Splits) -> str:
    """Changes with any image or label that a zoo is made with."""
    crc = 0
    for part in (splits.train, splits.val, splits.test):
        for tensor in part:
            crc = zlib.crc32(tensor.contiguous().numpy(), crc)
    return f"{crc:08x}"


def _fill(
    path: str, root: Path | str | None, device: str | None, config: ZooConfig, group: int
) -> int:
    """Train and write one group; how many of its networks diverged."""
    splits = _images(config.recipe, root, config.n_train, config.n_eval)
    seeds = config.seeds(group)
    arrays = train(config, splits.to(device or default_device()), seeds)
    diverged = ~arrays["w"].isfinite().all((1, 2))
    arrays |= {"seed": torch.tensor(seeds), "diverged": diverged}
    store = ZooStore.open(path)
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
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """A zoo as one safetensors file, its weights in half precision if wanted.

    Args:
        about: joins the metadata, e.g. the command that made it.
    """
    tensors = {name: getattr(zoo, name).contiguous() for name in ("w", *SCORES)}
    tensors |= {"seeds": torch.tensor(zoo.seeds)}
    if half:
        tensors["w"] = tensors["w"].half()
    told = {"dataset": zoo.dataset, "epochs": zoo.epochs}
    meta = {"zoo": json.dumps({"network": described(zoo.architecture), **told}), **about}
    with whole_file(path) as draft:
        save_file(tensors, draft, meta)


def load_zoo(path: Path | str) -> Zoo:
    """A zoo from such a file, its weights in single precision.

    Raises:
        DataMissingError: no such file.
        ArtifactError: the file is damaged, or is no zoo.
    """
    if not Path(path).exists():
        raise DataMissingError(f"no zoo at {path}; run: {ZooStore.script}")
    try:
        with safe_open(path, "pt") as file:
            told = json.loads((file.metadata() or {})["zoo"])
            arrays = {name: file.get_tensor(name).float() for name in ("w", *SCORES)}
            seeds = file.get_tensor("seeds").tolist()
        return Zoo(
            architecture=architecture_of(told["network"]),
            epochs=tuple(told["epochs"]),
            seeds=tuple(seeds),
            dataset=told["dataset"],
            **arrays,
        )
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is no whole zoo ({error})") from error
