"""A reader's own images: a folder with a sub-folder for each class, or a `.npz` pack.

Folders hold all kinds of files. What can be made an image of 8 bits is made one; the rest is left
out. Two lists say which files those are, and why: nothing is dropped in silence.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ..base import ConfigError, DataMissingError, Progress, silent, stream
from . import domains, pictures
from .domains import Domain
from .episodes import Episode, Style, sample
from .formats import Part

LEAST = 2  # images of a class: one to learn from, one to be asked
LEAST_SIDE = 4  # pixels; of less nothing can be seen
PALETTE, GREY = ("P", "PA"), ("LA", "La")  # pixel kinds of Pillow
SPLIT_SEED = 0  # of the two halves of a folder's classes


class Note(NamedTuple):
    """A file inside the folder, and what was done to it or why it was left out."""

    file: str
    what: str


@dataclass(frozen=True, eq=False)
class Own:
    """What a folder or pack holds.

    Args:
        changed: files that became images of 8 bits, without transparency.
        skipped: files, and classes with fewer than two images, that are not in the domain.
    """

    domain: Domain
    changed: tuple[Note, ...] = ()
    skipped: tuple[Note, ...] = ()


def read(path: Path | str, *, size: int = 32, progress: Progress = silent) -> Own:
    """The images of a folder of class folders (see `pictures.folder`) or of a `.npz` pack.

    Args:
        size: the middle square of every image is resampled to `size` x `size` pixels.

    Raises:
        DataMissingError: there is no such folder or file, or it cannot be looked into.
        ConfigError: no class folders, fewer than two classes of two images, or a pack of another
            form.
        ArtifactError: a pack is damaged.
    """
    path = _there(path)
    if path.is_dir():
        return _folder(path, size, progress)
    domain = domains.from_pack(path, size=size)
    small, kept = _few(domain.counts, domain.class_names)
    _require_two(path, domain.counts, domain.class_names)
    return Own(domain.only(kept) if small else domain, skipped=small)


def name(path: Path | str) -> str:
    """What the domain of a folder or pack is called; raises as `read` where there is none."""
    return _there(path).resolve().stem


def _there(path: Path | str) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise DataMissingError(
            f"no folder and no .npz at {path.absolute()}; want a folder with a sub-folder of "
            "images for each class"
        )
    if not path.is_dir() and path.suffix != ".npz":
        raise ConfigError(f"{path} is neither a folder nor a .npz pack; name the folder")
    return path


def _folder(path: Path, size: int, progress: Progress) -> Own:
    try:
        part = pictures.folder(path)
        skipped = [*_passed_over(path, set(part.images))]
    except OSError as error:
        raise DataMissingError(f"{path} cannot be looked into: {error}") from error
    if len(part.images) * 3 * size**2 > pictures.LIMIT_BYTES:
        raise ConfigError(
            f"{len(part.images)} images of {size} pixels need more than "
            f"{pictures.LIMIT_BYTES >> 30} GiB; ask for a smaller size or move some away"
        )
    rows, images, changed = [], [], []
    for row, file in enumerate(
        progress(part.images, total=len(part.images), desc="images")
    ):
        told = str(file.relative_to(path))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about metadata that nobody reads here
                image, changes = decode(file, size)
        except Exception as error:  # a damaged file may make Pillow raise anything
            skipped.append(Note(told, _reason(error)))
            continue
        rows.append(row)
        images.append(image)
        changed += [Note(told, what) for what in changes]
    labels = part.labels[rows]
    counts = torch.bincount(labels, minlength=len(part.class_names))
    small, kept = _few(counts, part.class_names)
    _require_two(path, counts, part.class_names, skipped)
    domain = _domain(path, part, labels, images, kept)
    grey = [row for row, image in zip(rows, images, strict=True) if image.shape[0] == 1]
    if domain.images.shape[1] == 3:
        files = [str(part.images[row].relative_to(path)) for row in grey]
        changed += [Note(file, "grey, repeated in three channels") for file in files]
    return Own(domain, tuple(changed), (*skipped, *small))


def _domain(
    path: Path, part: Part, labels: Tensor, images: list[Tensor], kept: list[int]
) -> Domain:
    """The classes that are kept; grey images get three channels where others have colours."""
    rows = torch.isin(labels, torch.tensor(kept)).nonzero().flatten().tolist()
    channels = max(images[row].shape[0] for row in rows)
    return Domain(
        name(path),
        torch.stack([images[row].expand(channels, -1, -1) for row in rows]),
        torch.searchsorted(torch.tensor(kept), labels[rows]),
        tuple(part.class_names[k] for k in kept),
    )


def _passed_over(path: Path, taken: set[Path]) -> Iterator[Note]:
    """Files that are no images of a class; hidden ones do not count."""
    for file in sorted(path.rglob("*")):
        told = file.relative_to(path)
        if file in taken or file.is_dir() or any(p.startswith(".") for p in told.parts):
            continue
        if not file.is_file():
            yield Note(str(told), "a link to nothing, or no file")
        elif file.suffix.lower() in pictures.SUFFIXES:
            yield Note(str(told), "lies in no class folder")
        else:
            yield Note(str(told), "by its name no image")


def _few(
    counts: Int64[Tensor, " classes"], names: tuple[str, ...]
) -> tuple[tuple[Note, ...], list[int]]:
    """Notes of the classes with too few images, and the numbers of the others."""
    what = f"of this class {{}} image can be used; a task needs {LEAST} or more"
    pairs = list(zip(names, counts.tolist(), strict=True))
    small = tuple(Note(c, what.format(n or "no")) for c, n in pairs if n < LEAST)
    return small, [k for k, (_, n) in enumerate(pairs) if n >= LEAST]


def _require_two(
    path: Path, counts: Tensor, names: tuple[str, ...], skipped: list[Note] | None = None
) -> None:
    if int((counts >= LEAST).sum()) >= 2:
        return
    found = dict(list(zip(names, counts.tolist(), strict=True))[:8])
    lost = f"; {len(skipped)} files were left out, e.g. {skipped[0]}" if skipped else ""
    raise ConfigError(
        f"{path}: a task needs two classes with {LEAST} images or more each; images that can be "
        f"used: {found}{lost}"
    )


def decode(file: Path, size: int) -> tuple[UInt8[Tensor, " c h w"], list[str]]:
    """One image, and what was changed.

    Raises:
        ConfigError: the image is tiny, or its pixels are no brightnesses.
        Exception: Pillow's, if the file is damaged or no image.
    """
    with Image.open(file) as image:
        if min(image.size) < LEAST_SIDE:
            raise ConfigError(
                f"{image.width} x {image.height} pixels; want {LEAST_SIDE} or more each way"
            )
        frames = getattr(image, "n_frames", 1)
        changes = [f"the first of {frames} pictures"] if frames > 1 else []
        plain, change = eight_bit(image)
        return pictures.square(plain, size), changes + ([change] if change else [])


def eight_bit(image: Image.Image) -> tuple[Image.Image, str]:
    """The image as grey or RGB of 8 bits, and in words what that took.

    16 bits are divided by 257, which takes 65535 to 255. Transparent parts are laid on white.

    Raises:
        ConfigError: whole numbers outside 0 to 65535, or floating ones outside 0 to 1.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(rgba)
        clear = rgba.getextrema()[3][0] < 255
        mode = "L" if image.mode in GREY else "RGB"
        return ground.convert(mode), "transparent parts laid on white" if clear else ""
    if image.mode in PALETTE:
        return image.convert("RGB"), "palette replaced by its colours"
    if image.mode in pictures.GREY:
        return image.convert("L"), ""
    change = "" if image.mode.startswith("RGB") else f"{image.mode} made RGB"
    return image.convert("RGB"), change


def _scaled(image: Image.Image) -> tuple[Image.Image, str]:
    pixels = np.asarray(image).astype(np.float64)
    top = 1 if image.mode == "F" else 65_535
    low, high = pixels.min(), pixels.max()
    if not 0 <= low <= high <= top:
        raise ConfigError(
            f"pixels of kind {image.mode!r} from {low:g} to {high:g}; want 0 to {top}, or save "
            "it as 8-bit"
        )
    small = np.round(pixels * (255 / top))
    words = (
        f"{'floating' if top == 1 else '16-bit'} pixels; the brightest, {high:g}, became"
    )
    return Image.fromarray(small.astype(np.uint8)), f"{words} {small.max():.0f}"


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "no image of a kind that Pillow reads, or damaged"
    return f"damaged or unreadable: {error or type(error).__name__}"


def part(path: Path | str, role: str, *, size: int = 32) -> Domain:
    """A folder's classes for a role: all of them for "own", else one of two halves.

    "own_train" and "own_test" share no class; the split depends on the classes alone.

    Raises:
        ConfigError: fewer than four classes cannot be halved.
    """
    domain = read(path, size=size).domain
    if role == "own":
        return domain
    if domain.n_classes < 4:
        raise ConfigError(
            f"{domain.name} has {domain.n_classes} classes; halves need four or more, so take "
            "the role 'own' and say that nothing was held out"
        )
    halves = domain.split(fraction=0.5, generator=stream(SPLIT_SEED, *domain.class_names))
    return replace(halves[role == "own_test"], name=domain.name)


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
    return sample(_large(domain), **wanted, style=style, generator=generator)


@lru_cache(maxsize=8)
def _large(domain: Domain) -> Domain:
    wanted = sizes(domain)
    enough = domain.counts >= wanted["n_shot"] + wanted["n_query"]
    return domain if enough.all() else domain.only(enough.nonzero().flatten().tolist())
