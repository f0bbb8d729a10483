"""A reader's own images: a folder with a sub-folder for each class, or a `.npz` pack.

Folders hold all kinds of files. What can be made an image of 8 bits is made one; the rest is left
out. Two lists say which files those are, and why, and `account` adds them up: nothing is dropped
in silence. Images that are alike in every pixel count once, so that no episode can ask about an
image that it shows.
"""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int64, UInt8
from PIL import UnidentifiedImageError
from torch import Tensor

from ..base import (
    ConfigError,
    DataMissingError,
    Progress,
    expanded,
    printable,
    silent,
    stream,
)
from . import folders, formats, pixels
from .domains import Domain
from .episodes import Episode, Style, sample
from .folders import Note
from .parts import SPLITS

LEAST = 2  # images of a class: one to learn from, one to be asked
NO_TASK = (
    f"a task needs two classes with {LEAST} images or more each; images that can be used:"
)
TOO_FEW = f"of this class {{}} image can be used; a task needs {LEAST} or more"
UNCLEAR = "nobody can say which is right, so both are left out"
SPLIT_SEED = 0  # of the two halves of a folder's classes


@dataclass(frozen=True, eq=False)
class Own:
    """What a folder or pack holds.

    Args:
        changed: files that became images of 8 bits, without transparency, and class folders that
            were not taken literally.
        skipped: files, and classes with fewer than two images, that are not in the domain.
        account: how many files (of a pack: images) were "read", "left out" one by one, left out
            with a class that is "too small", and of "other parts"; together all there are.
    """

    domain: Domain
    changed: tuple[Note, ...]
    skipped: tuple[Note, ...]
    account: dict[str, int]


class Gathered(NamedTuple):
    """Images as they were read: of each its name, for notes, and its class."""

    names: list[str]
    images: UInt8[Tensor, " n c h w"]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]
    changed: list[Note]
    skipped: list[Note]
    n_other: int  # files of another part than the one asked for


def read(
    path: Path | str,
    *,
    size: int = 32,
    split: str | None = None,
    progress: Progress = silent,
) -> Own:
    """The images of a folder of class folders (see `folders.scan`) or of a `.npz` pack.

    Exact copies, in all pixels at this size, are read once; those in different classes not at all.

    Args:
        size: the middle square of every image is resampled to `size` x `size` pixels.
        split: "train", "test" or "val", where the folder or pack has such parts; None is all.

    Raises:
        DataMissingError: there is no such folder or file, or it cannot be looked into.
        ConfigError: no class folders, no two classes of two images, or a pack of another form.
        ArtifactError: a pack is damaged.
    """
    pixels.require_size(size)
    path = _there(path)
    found = (_folder if path.is_dir() else _pack)(path, size, split, progress)
    copies = _copies(found)
    single = torch.tensor([k not in copies for k in range(len(found.labels))]).bool()
    skipped = [*found.skipped, *copies.values()]
    counts = torch.bincount(found.labels[single], minlength=len(found.class_names))
    usable = dict(zip(found.class_names, counts.tolist(), strict=True))
    kept = (counts >= LEAST).nonzero().flatten()
    if len(kept) < 2:
        lost = f"; {len(skipped)} files were left out, e.g. {skipped[0]}" if skipped else ""
        raise ConfigError(f"{path}: {NO_TASK} {dict([*usable.items()][:8])}{lost}")
    rows = single & torch.isin(found.labels, kept)
    labels = torch.searchsorted(kept, found.labels[rows])
    names = tuple(found.class_names[k] for k in kept.tolist())
    domain = Domain(name(path), found.images[rows], labels, names)
    account = {"read": int(rows.sum()), "left out": len(skipped)}
    account |= {"too small": int((single & ~rows).sum()), "other parts": found.n_other}
    small = [Note(c, TOO_FEW.format(n or "no")) for c, n in usable.items() if n < LEAST]
    return Own(domain, tuple(found.changed), (*skipped, *small), account)


def name(path: Path | str) -> str:
    """What the domain of a folder or pack is called; raises as `read` where there is none."""
    path = _there(path).resolve()
    return printable(path.name if path.is_dir() else path.stem)


def _there(path: Path | str) -> Path:
    path = expanded(Path(path))
    if not path.exists():
        raise DataMissingError(
            f"no folder and no .npz at {path.absolute()}; want a folder with a sub-folder of "
            "images for each class"
        )
    if not path.is_dir() and path.suffix.lower() != ".npz":
        raise ConfigError(f"{path} is neither a folder nor a .npz pack; name the folder")
    return path


def _folder(path: Path, size: int, split: str | None, progress: Progress) -> Gathered:
    try:
        found = folders.scan(path)
    except OSError as error:
        raise DataMissingError(f"{path} cannot be looked into: {error}") from error
    part = found.part if split is None else found.part.only(split)
    if len(part.images) * 3 * size**2 > pixels.LIMIT_BYTES:
        raise ConfigError(
            f"{len(part.images)} images of {size} pixels need more than "
            f"{pixels.LIMIT_BYTES >> 30} GiB; ask for a smaller size or move some away"
        )
    decoded, reasons = _decoded(part.images, size, progress)
    names = {file: printable(file.relative_to(path)) for file in part.images}
    images = pixels.stacked([image.pixels for image in decoded.values()], size)
    changes = [(file, what) for file, image in decoded.items() for what in image.changes]
    grey = [file for file, image in decoded.items() if len(image.pixels) < images.shape[1]]
    changes += [(file, "grey, repeated in three channels") for file in grey]
    return Gathered(
        names=[names[file] for file in decoded],
        images=images,
        labels=part.labels[torch.tensor([f in decoded for f in part.images]).bool()],
        class_names=part.class_names,
        changed=[*(Note(names[file], what) for file, what in changes), *found.merged],
        skipped=[*found.left_out, *(Note(names[f], why) for f, why in reasons.items())],
        n_other=len(found.images) - len(part.images),
    )


def _decoded(
    files: Sequence[Path], size: int, progress: Progress
) -> tuple[dict[Path, pixels.Decoded], dict[Path, str]]:
    """What could be decoded, those of 16 bits at one scale, and of the other files why not."""
    decoded, reasons = {}, {}
    for file in progress(files, total=len(files), desc="images"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about metadata that nobody reads here
                decoded[file] = pixels.decode(file, size)
        except ConfigError as error:
            reasons[file] = str(error)
        except UnidentifiedImageError:
            reasons[file] = "no image of a kind that Pillow reads, or damaged"
        except Exception as error:  # a damaged file may make Pillow raise anything
            why = error or type(error).__name__
            reasons[file] = printable(f"damaged or unreadable: {why}")
    deep = {file: image.brightest for file, image in decoded.items() if image.brightest}
    top = next(top for top in pixels.TOPS if max(deep.values(), default=0) <= top)
    if top < pixels.TOPS[-1]:
        decoded |= {file: pixels.decode(file, size, top=top) for file in deep}
    return decoded, reasons


def _pack(path: Path, size: int, split: str | None, _progress: Progress) -> Gathered:
    arrays = formats.npz(path)
    whole = formats.of_arrays(arrays, path)
    part = whole if split is None else whole.only(split)
    height, width = part.images.shape[-2:]
    if min(height, width) < pixels.LEAST_SIDE:
        raise ConfigError(
            f"{path}: images of {width} x {height} pixels; want {pixels.LEAST_SIDE} or more "
            "each way"
        )
    if twice := [c for c, n in Counter(part.class_names).items() if n > 1]:
        raise ConfigError(f"{path}: class_names name more than one class {twice[:3]}")
    images = pixels.fit(part.images, size)
    kind, high = arrays["images"].dtype, arrays["images"].max()
    scaled = f"{kind} pixels; the brightest, {high:g}, became {images.max()}"
    rows = range(len(whole.labels))
    if split is not None:
        rows = (whole.split == SPLITS[split]).nonzero().flatten().tolist()
    return Gathered(
        names=[f"image {row}" for row in rows],
        images=images,
        labels=part.labels,
        class_names=part.class_names,
        changed=[Note("images", scaled)] if kind != "uint8" or high == 1 else [],
        skipped=[],
        n_other=len(whole.labels) - len(part.labels),
    )


def _copies(found: Gathered) -> dict[int, Note]:
    """Of images that are alike in every pixel all but the first; all, if their classes differ."""
    alike, labels = defaultdict(list), found.labels.tolist()
    for row, image in enumerate(found.images):
        alike[hashlib.sha256(image.numpy().tobytes()).digest()].append(row)
    copies = {}
    for rows in alike.values():
        first = {labels[row]: row for row in reversed(rows)}
        for row in rows if len(first) > 1 else rows[1:]:
            other = next((r for c, r in first.items() if c != labels[row]), rows[0])
            what = f"a copy of {found.names[other]}"
            if len(first) > 1:
                what += f" of class {found.class_names[labels[other]]!r}; {UNCLEAR}"
            copies[row] = Note(found.names[row], what)
    return copies


def part(path: Path | str, role: str, *, size: int = 32) -> Domain:
    """A folder's classes for a role: all of them for "own", else one of the two `halves`.

    A warning says how many files were left out.
    """
    found = read(path, size=size)
    if found.skipped:
        file, why = found.skipped[0]
        warnings.warn(
            f"{found.domain.name}: {len(found.skipped)} files or classes are left out, e.g. "
            f"{file} ({why}); tasks.own.read lists them",
            stacklevel=2,
        )
    return found.domain if role == "own" else halves(found.domain)[role == "own_test"]


def halves(domain: Domain) -> tuple[Domain, Domain]:
    """Two domains without a common class, to fit on and to test on, by the classes alone."""
    if domain.n_classes < 4:
        raise ConfigError(
            f"{domain.name} has {domain.n_classes} classes; halves need four or more, so take "
            "the role 'own' and say that nothing was held out"
        )
    return domain.split(fraction=0.5, generator=stream(SPLIT_SEED, *domain.class_names))


def sizes(
    domain: Domain, *, n_way: int = 5, n_shot: int = 5, n_query: int = 15
) -> dict[str, int]:
    """The largest episode up to these sizes for which there are classes enough.

    As many classes as asked for, where there are so many; of each, at least half of the images
    are asked about.
    """
    n_way = min(n_way, domain.n_classes)
    least = int(domain.counts.sort(descending=True).values[n_way - 1])
    n_shot = min(n_shot, max(1, least // 2))
    return {"n_way": n_way, "n_shot": n_shot, "n_query": min(n_query, least - n_shot)}


def draw(
    domain: Domain, *, style: Style | None = None, generator: torch.Generator
) -> Episode:
    """An episode as large as `sizes` says; classes that are too small for it stay out."""
    wanted = sizes(domain)
    large = _large(domain, wanted["n_shot"] + wanted["n_query"])
    return sample(large, **wanted, style=style, generator=generator)


@lru_cache(maxsize=8)
def _large(domain: Domain, n: int) -> Domain:
    enough = domain.counts >= n
    return domain if enough.all() else domain.only(enough.nonzero().flatten().tolist())
