"""What a reader of files gives: images, labels, names of classes, splits and a hierarchy."""

import io
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..base import ArtifactError, ConfigError, DataMissingError, HyperlabError, choose

SPLITS = {"train": 0, "test": 1, "val": 2}
TRAIN, TEST, VAL = SPLITS.values()
DIGITS = tuple("0123456789")


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded image inside a larger file; opens like a file of its own."""

    path: Path
    offset: int  # bytes
    length: int  # bytes

    def open(self, mode: str = "rb") -> io.BytesIO:
        """The bytes of this image alone."""
        with self.path.open(mode) as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.length))

    def __str__(self) -> str:
        return f"{self.path} (image at byte {self.offset})"


File = Path | zipfile.Path | Record
Listing = Sequence[tuple[str, File, int]]  # class name, image file, split number


@dataclass(frozen=True)
class ClassGraph:
    """A hierarchy of classes, e.g. WordNet above ILSVRC-2012's; many parents are allowed.

    Args:
        parents: node -> the nodes right above it. Classes are found by their names.
    """

    parents: Mapping[str, Collection[str]]

    def pools(
        self, class_names: Sequence[str], *, at_least: int, at_most: int = 392
    ) -> list[list[int]]:
        """The classes below each inner node that spans neither too few nor too many.

        Source: `meta_dataset/data/sampling.py`, which takes between 5 and 392 leaves.
        """
        below: dict[str, list[int]] = {}
        for number, name in enumerate(class_names):
            for node in self._ancestors(name):
                below.setdefault(node, []).append(number)
        pools = [below[node] for node in sorted(below)]
        eligible = [pool for pool in pools if at_least <= len(pool) <= at_most]
        if not eligible:
            sizes = sorted({len(pool) for pool in pools})
            raise ConfigError(
                f"no node of the graph spans {at_least} to {at_most} of the "
                f"{len(class_names)} classes; its nodes span {sizes}"
            )
        return eligible

    def _ancestors(self, name: str) -> set[str]:
        above = set(self.parents.get(name, ()))
        return above.union(*map(self._ancestors, above))


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What a reader found: a domain at its native size and without its name."""

    where: Path
    images: UInt8[Tensor, " n c h w"] | Sequence[File]  # pixels or image files
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]
    groups: tuple[str, ...] | None = None  # of each class: its alphabet or superclass
    split: Int64[Tensor, " n"] | None = None  # see SPLITS; None: the set has no such parts
    graphs: Mapping[str, ClassGraph] | None = None  # split -> hierarchy above its classes

    def __post_init__(self) -> None:
        sizes = [len(self.images), len(self.labels)]
        sizes += [] if self.split is None else [len(self.split)]
        if len(set(sizes)) > 1:
            raise ArtifactError(f"{self.where}: images, labels (and split) number {sizes}")

    def only(self, split: str) -> "Part":
        """The images of one split; a class without an image there goes."""
        wanted = choose(SPLITS, split)
        if self.split is None:
            raise ConfigError(f"{self.where} has no train and test part; leave split=None")
        keep = (self.split == wanted).nonzero().flatten()
        if not len(keep):
            have = [name for name, k in SPLITS.items() if (self.split == k).any()]
            raise DataMissingError(f"{self.where} has no {split} images, only {have}")
        images, in_memory = self.images, isinstance(self.images, Tensor)
        present, labels = self.labels[keep].unique(return_inverse=True)
        classes = present.tolist()
        return replace(
            self,
            images=images[keep] if in_memory else [images[k] for k in keep.tolist()],
            labels=labels,
            class_names=tuple(self.class_names[k] for k in classes),
            groups=self.groups and tuple(self.groups[k] for k in classes),
            split=None,
        )


@contextmanager
def reading(place: object) -> Iterator[None]:
    """One ArtifactError that names the place, whatever a library raises on what lies there."""
    try:
        yield
    except (HyperlabError, MemoryError):
        raise
    except Exception as error:  # a damaged file may make a library raise anything
        raise ArtifactError(
            f"{place} is damaged, incomplete or foreign: {error}"
        ) from error


def find(folder: Path, *names: str) -> Path | None:
    """The first of `names` in the folder, or one level below (an unpacked archive).

    A name may hold wildcards.
    """
    patterns = (pattern for name in names for pattern in (name, f"*/{name}"))
    places = (place for pattern in patterns for place in sorted(folder.glob(pattern)))
    return next((place for place in places if place.exists()), None)


def joined(
    folder: Path,
    *,
    files: Mapping[str, int],
    read: Callable[..., tuple],
    class_names: Sequence[str] = DIGITS,
    whole: bool = False,
) -> Part:
    """One part from several array files, those that lie there.

    Args:
        files: names of the files that belong together (images, then labels, if they lie apart;
            see `find`) -> their split number. Of a pair none may be missing.
        read: the images, n x c x h x w bytes, and the labels of such files.
        whole: none of all may be missing.
    """
    pieces = []
    for names, split in files.items():
        paths = {name: find(folder, name) for name in names.split()}
        if lacking := [name for name, path in paths.items() if path is None]:
            if whole or any(paths.values()):
                raise ArtifactError(f"{folder} lacks {lacking[0]}, of {names}")
            continue
        first = next(iter(paths.values()))
        with reading(first):
            images, labels = map(torch.as_tensor, read(*paths.values()))
        if len(images) != len(labels):
            raise ArtifactError(
                f"{first} has {len(images)} images and {len(labels)} labels"
            )
        pieces.append((images, labels.long(), torch.full((len(labels),), split)))
    if not pieces:
        raise ArtifactError(f"{folder} holds no complete pair of images and labels")
    images, labels, splits = map(torch.cat, zip(*pieces, strict=True))
    names = tuple(class_names)
    return Part(where=folder, images=images, labels=labels, split=splits, class_names=names)


def listed(
    where: Path, rows: Listing, classes: Iterable[str] = (), *, has_split: bool = True
) -> Part:
    """One part from image files with the names of their classes and their split numbers.

    Args:
        classes: in the order of their numbers; those of the rows by the alphabet if left out.
    """
    classes = tuple(classes) or tuple(sorted({name for name, _, _ in rows}))
    number = {name: k for k, name in enumerate(classes)}
    return Part(
        where=where,
        images=[file for _, file, _ in rows],
        labels=torch.tensor([number[name] for name, _, _ in rows], dtype=torch.int64),
        split=torch.tensor([split for *_, split in rows]) if has_split else None,
        class_names=classes,
    )
