"""Labelled image collections: what a domain is, and the registry of the known ones."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from ..base import ConfigError, DataMissingError, Progress, choose, expanded, silent
from ..identity import checksum, files
from ..notebook import repository
from . import formats, pixels
from .catalogue import CATALOGUE, Entry
from .parts import ClassGraph, Part, find, reading
from .pixels import OnDemand

SET = (
    'HYPERLAB_DATA=/folder make lab, in a notebook os.environ["HYPERLAB_DATA"] = "/folder"'
)


@dataclass(frozen=True, eq=False)
class Domain:
    """Images of one kind with their classes; episodes are drawn from it.

    Args:
        images: uint8 N x C x H x W, C = 1 or 3; a tensor, an array, a memory map, or files
            that are decoded on demand.
        labels: class of each image.
        groups: of each class the one above it: Omniglot's alphabet, a node of a hierarchy.
        graph: the hierarchy above the classes, if they have a deeper one than groups.
    """

    name: str
    images: Tensor | np.ndarray | OnDemand
    labels: Int[Tensor, " n"]
    class_names: tuple[str, ...]
    groups: tuple[int | str, ...] | None = None
    licence: str = ""
    source: str = ""
    graph: ClassGraph | None = None

    def __post_init__(self) -> None:
        _check_images(self)
        _check_classes(self)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def counts(self) -> Int64[Tensor, " classes"]:
        """How many images each class has."""
        return torch.bincount(self.labels, minlength=self.n_classes)

    @cached_property
    def members(self) -> tuple[Int64[Tensor, " members"], ...]:
        """Of each class the indices of its images."""
        return self.labels.argsort(stable=True).split(self.counts.tolist())

    @cached_property
    def checksums(self) -> Mapping[str, str]:
        """Of the images, and of the labels with all that is known of the classes.

        Images that are decoded on demand count by their files: name, size, time of change.
        """
        on_demand = isinstance(self.images, OnDemand)
        images = self.images.checksum if on_demand else checksum(self.images)
        classes = (self.class_names, self.groups, self.graph)
        return {"images": images, "labels": checksum(self.labels, *classes)}

    def only(self, classes: Sequence[int]) -> "Domain":
        """These classes alone, numbered from 0 in the order given."""
        classes = [int(c) for c in classes]
        if not classes or len(set(classes)) < len(classes):
            raise ConfigError(f"want one or more different classes, got {classes}")
        if not 0 <= min(classes) <= max(classes) < self.n_classes:
            raise ConfigError(
                f"{self.name} has classes 0 to {self.n_classes - 1}: {classes}"
            )
        rows = torch.cat([self.members[c] for c in classes])
        on_demand = isinstance(self.images, OnDemand)
        return replace(
            self,
            images=self.images.only(rows) if on_demand else self._rows(rows),
            labels=torch.arange(len(classes)).repeat_interleave(self.counts[classes]),
            class_names=tuple(self.class_names[c] for c in classes),
            groups=self.groups and tuple(self.groups[c] for c in classes),
        )

    def split(
        self, *, fraction: float, generator: torch.Generator
    ) -> tuple["Domain", "Domain"]:
        """Two domains without a common class; the first has `fraction` of the classes."""
        n_first = round(fraction * self.n_classes)
        if not 0 < n_first < self.n_classes:
            raise ConfigError(
                f"{fraction} of {self.n_classes} classes of {self.name} leaves a part empty"
            )
        order = torch.randperm(self.n_classes, generator=generator)
        parts = order.split([n_first, self.n_classes - n_first])
        first, second = (self.only(part.sort().values.tolist()) for part in parts)
        return first, second

    def batch(self, indices: Int64[Tensor, " n"]) -> Float[Tensor, " n 3 h w"]:
        """Images as numbers from 0 to 1, grey ones repeated in three channels."""
        images = torch.as_tensor(self._rows(indices))
        return images.float().div_(255).repeat(1, 3 // images.shape[1], 1, 1)

    def _rows(self, indices: Int64[Tensor, " n"]) -> Tensor | np.ndarray:
        if isinstance(self.images, Tensor | OnDemand):
            return self.images[indices]
        return self.images[indices.numpy()]  # numpy takes a tensor of one row for a number


def _check_images(domain: Domain) -> None:
    shape, kind = tuple(domain.images.shape), str(domain.images.dtype)
    if not kind.endswith("uint8") or len(shape) != 4 or shape[1] not in (1, 3):
        raise ConfigError(
            f"{domain.name}: images are {kind} {shape}; want uint8 N x (1 or 3) x H x W"
        )
    if domain.labels.dtype != torch.int64 or domain.labels.shape != shape[:1]:
        raise ConfigError(
            f"{domain.name}: labels are {domain.labels.dtype} {list(domain.labels.shape)}; "
            f"want int64, one for each of {shape[0]} images"
        )


def _check_classes(domain: Domain) -> None:
    n = len(domain.class_names)
    if len(domain.labels) and not 0 <= domain.labels.min() <= domain.labels.max() < n:
        low, high = domain.labels.min().item(), domain.labels.max().item()
        raise ConfigError(
            f"{domain.name}: labels run from {low} to {high}; it has {n} classes"
        )
    if domain.groups is not None and len(domain.groups) != n:
        raise ConfigError(f"{domain.name}: {len(domain.groups)} groups for {n} classes")
    counts = zip(domain.class_names, domain.counts.tolist(), strict=True)
    empty = [name for name, count in counts if not count]
    if empty or not n:
        raise ConfigError(
            f"{domain.name}: no image of {len(empty)} of {n} classes: {empty[:5]}"
        )


def data_root(root: Path | str | None = None) -> Path:
    """Where data sets lie: `root`, else HYPERLAB_DATA, else `data`.

    The last two are looked for in the working folder, one up, and in the course's folder.
    """
    if root:
        return expanded(Path(root))
    named = expanded(Path(os.environ.get("HYPERLAB_DATA") or "data"))
    places = (named, Path("..", named), (repository() or Path()) / named)
    return next((place for place in places if place.is_dir()), named)


def stamp(name: str, root: Path | str | None = None) -> str:
    """Changes with any file in the folder of a named domain: its name, size or time of change."""
    folder = _folder(name, data_root(root))
    return checksum(str(folder.absolute()), files(folder))


def available(root: Path | str | None = None) -> tuple[str, ...]:
    """The named domains that `load` finds under the root.

    Raises:
        DataMissingError: HYPERLAB_DATA names a folder that is not there.
    """
    named = os.environ.get("HYPERLAB_DATA")
    if named and not root and not data_root().is_dir():
        raise DataMissingError(
            f"HYPERLAB_DATA names {named}, which is no folder; unset or correct it: {SET}"
        )
    return tuple(name for name in CATALOGUE if _reader(name, data_root(root)))


def load(
    name: str,
    *,
    root: Path | str | None = None,
    size: int = 32,
    split: str | None = None,
    progress: Progress = silent,
) -> Domain:
    """The named domain with images of `size` x `size` pixels, in memory.

    Official files are read where they are there, else the pack `data.npz` in their folder.

    Args:
        root: see `data_root`; each data set has a folder of its own there.
        split: "train", "test" or "val" of the source; None is everything that is there,
            without a graph, for Meta-Dataset has one for each split.

    Raises:
        ConfigError: if there is no domain of that name, or it has no such parts.
        DataMissingError: if its files are not there; the message names the command.
        ArtifactError: if a file is damaged or one of several is missing.
    """
    entry = choose(CATALOGUE, name)
    pixels.require_size(size)
    if not (read := _reader(name, data_root(root))):
        raise DataMissingError(_missing(name, entry, data_root(root)))
    with reading(f"{name} in {_folder(name, data_root(root))}"):
        part = read()
    part = part if split is None else part.only(split)
    if isinstance(part.images, Tensor):
        images = pixels.fit(part.images, size)
    else:
        images = pixels.decode_all(part.images, size, progress)
    classes = (part.labels, part.class_names, part.groups)
    graph = (part.graphs or {}).get(split)
    return Domain(name, images, *classes, entry.licence, entry.source, graph)


def _folder(name: str, root: Path) -> Path:
    return root / (CATALOGUE[name].folder or name)


def _reader(name: str, root: Path) -> Callable[[], Part] | None:
    """What reads this domain here, or None if nothing of it is there."""
    entry, folder = CATALOGUE[name], _folder(name, root)
    if entry.embedded or find(folder, *entry.marks):
        return partial(entry.read, folder)
    pack = folder / "data.npz"
    return partial(formats.pack, pack) if pack.exists() else None


def _missing(name: str, entry: Entry, root: Path) -> str:
    lacks = f"no {name} in {_folder(name, root).absolute()}"
    if entry.advice:
        return f"{lacks}; {entry.advice}"
    if entry.files:
        run = f"run: python data_scripts/download_data.py {name}"
        return f"{lacks}; {run}, or name the folder that holds it: {SET}"
    return f"{lacks}; put a pack data.npz there, made from {entry.source}"
