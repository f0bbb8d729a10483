"""Readers of image files: folders of any kind, Omniglot, GTSRB, EuroSAT, DTD."""

import csv
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image, ImageOps
from torch import Tensor

from ..base import ArtifactError, ConfigError, Progress
from .formats import SPLITS, TEST, TRAIN, File, Part, find, pack

RASTER = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SUFFIXES = RASTER | {".pbm", ".pgm", ".ppm"}
GREY = ("1", "L", "LA", "La")  # pixel kinds of Pillow
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr")
LIMIT_BYTES = 4 * 2**30  # images of one domain in memory; more are decoded on demand
PARTS = {**SPLITS, "valid": SPLITS["val"], "validation": SPLITS["val"]}
Listing = list[tuple[str, File, int]]  # class name, image file, split number


@dataclass(frozen=True, eq=False)
class OnDemand:
    """Image files that are decoded when they are asked for: a domain larger than memory."""

    files: Sequence[File]
    size: int
    dtype: str = "uint8"

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.files), 3, self.size, self.size

    def __getitem__(self, rows: Int64[Tensor, " m"]) -> UInt8[Tensor, " m 3 h w"]:
        images = [_decode_one(self.files[row], self.size) for row in rows.tolist()]
        return torch.stack([image.expand(3, -1, -1) for image in images])

    def only(self, rows: Int64[Tensor, " m"]) -> "OnDemand":
        """Some of the files, still undecoded."""
        return replace(self, files=[self.files[row] for row in rows.tolist()])


def decode(
    files: Sequence[File], size: int, progress: Progress
) -> UInt8[Tensor, " n c h w"] | OnDemand:
    """Read image files: middle square, resampled to `size`; one channel if all are grey.

    More than LIMIT_BYTES of images are left on disk and decoded when they are asked for.

    Raises:
        ArtifactError: if a file is damaged or no image of 8 bits a channel.
    """
    if len(files) * 3 * size**2 > LIMIT_BYTES:
        return OnDemand(files, size)
    items = progress(files, total=len(files), desc="images")
    images = [_decode_one(file, size) for file in items]
    if not images:
        return torch.empty(0, 1, size, size, dtype=torch.uint8)
    channels = max(image.shape[0] for image in images)
    return torch.stack([image.expand(channels, -1, -1) for image in images])


def _decode_one(file: File, size: int) -> UInt8[Tensor, " c h w"]:
    try:
        with file.open("rb") as stream, Image.open(stream) as image:
            if image.mode not in GREY + COLOUR:
                raise ArtifactError(
                    f"{file} has pixels of kind {image.mode!r}; save it as 8-bit"
                )
            return square(image.convert("L" if image.mode in GREY else "RGB"), size)
    except (OSError, ValueError, SyntaxError, zlib.error, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{file} is damaged or no image: {error}") from error
    except Image.DecompressionBombError as error:
        raise ArtifactError(f"{file} is too large: {error}") from error


def square(image: Image.Image, size: int) -> UInt8[Tensor, " c h w"]:
    """The middle square of a grey or RGB image, upright, resampled to `size`."""
    upright = ImageOps.exif_transpose(image)
    small = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small))
    return pixels[None] if image.mode == "L" else pixels.permute(2, 0, 1).contiguous()


def folder(path: Path) -> Part:
    """A folder of class folders, or of train, test and val folders with class folders.

    Images may lie deeper inside a class folder; hidden ones and other files do not count.

    Raises:
        ConfigError: if there is no class folder.
    """
    tops = _folders(path)
    parts = [top for top in tops if top.name.lower() in PARTS]
    if parts and len(parts) == len(tops):
        listing = [row for top in parts for row in _classes(top, PARTS[top.name.lower()])]
        classes = {c.name for top in parts for c in _folders(top)}
    else:
        listing, classes = _classes(path), {top.name for top in tops}
    if not classes:
        raise ConfigError(
            f"{path} has no sub-folders; want one folder of images for each class"
        )
    return _listed(path, listing, sorted(classes), has_split=bool(parts))


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(path: Path) -> list[Path]:
    files = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    return sorted(p for p in files if not p.name.startswith("."))


def _classes(path: Path, split: int = TRAIN) -> Listing:
    return [(top.name, image, split) for top in _folders(path) for image in _images(top)]


def listed(
    where: Path, listing: Sequence[tuple[str, File]], classes: Sequence[str]
) -> Part:
    """Image files with the names of their classes, of a set without official split."""
    rows = [(name, file, TRAIN) for name, file in listing]
    return _listed(where, rows, classes, has_split=False)


def _listed(
    where: Path, listing: Listing, classes: Sequence[str], *, has_split: bool = True
) -> Part:
    number = {name: k for k, name in enumerate(classes)}
    return Part(
        where=where,
        images=[file for _, file, _ in listing],
        labels=torch.tensor([number[name] for name, _, _ in listing], dtype=torch.int64),
        split=torch.tensor([split for *_, split in listing]) if has_split else None,
        class_names=tuple(classes),
    )


def omniglot(path: Path) -> Part:
    """Omniglot's official zips (or the folders in them), else the pack `omniglot28.npz`.

    The classes are the characters, the 964 of the background set before the 659 of the
    evaluation set; groups are the alphabets; background is "train", evaluation "test".
    """
    rows = []
    for name, split in (("images_background", TRAIN), ("images_evaluation", TEST)):
        if place := find(path, f"{name}.zip", name):
            rows += _characters(place, split)
    return _by_alphabet(path, rows) if rows else _omniglot28(path / "omniglot28.npz")


def omniglot_small(path: Path) -> Part:
    """Omniglot's two small background sets, from zips; what both have counts once."""
    names = ("images_background_small1", "images_background_small2")
    found = [place for name in names if (place := find(path, f"{name}.zip", name))]
    rows = [row for place in found for row in _characters(place, TRAIN)]
    once = {(name, file.name): (name, file, split) for name, file, split in rows}
    return _by_alphabet(path, [once[key] for key in sorted(once)])


def _characters(place: Path, split: int) -> Listing:
    """Rows of <top>/<alphabet>/<character>/<drawing>.png in a zip or a folder."""
    if place.is_dir():
        files = {p.relative_to(place.parent).as_posix(): p for p in place.rglob("*.png")}
    else:
        try:
            archive = zipfile.ZipFile(place)
        except zipfile.BadZipFile as error:
            raise ArtifactError(f"{place} is damaged or cut short: {error}") from error
        names = [name for name in archive.namelist() if name.endswith(".png")]
        files = {name: zipfile.Path(archive, name) for name in names}
    if strange := [name for name in files if name.count("/") != 3]:
        raise ArtifactError(f"{place} is not laid out as Omniglot: {strange[0]}")
    return [("/".join(n.split("/")[1:3]), files[n], split) for n in sorted(files)]


def _by_alphabet(path: Path, rows: Listing) -> Part:
    classes = list(dict.fromkeys(name for name, _, _ in rows))
    part = _listed(path, rows, classes)
    return _with_alphabets(part)


def _omniglot28(path: Path) -> Part:
    """The pack of 28-pixel drawings, its classes in the order of the official archives."""
    part = pack(path)
    if part.split is None:
        return _with_alphabets(part)
    first = torch.empty(len(part.class_names), dtype=torch.int64)
    first[part.labels] = part.split
    order = first.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    names = tuple(part.class_names[k] for k in order.tolist())
    return _with_alphabets(replace(part, labels=rank[part.labels], class_names=names))


def _with_alphabets(part: Part) -> Part:
    return replace(part, groups=tuple(name.split("/")[0] for name in part.class_names))


def gtsrb(path: Path) -> Part:
    """GTSRB: training images in class folders, test images with a table of classes."""
    training = find(path, "GTSRB/Training", "GTSRB/Final_Training/Images")
    rows = _classes(training) if training else []
    test, table = find(path, "GTSRB/Final_Test/Images"), find(path, "GT-final_test.csv")
    if test and table:
        with table.open(newline="") as file:
            lines = list(csv.DictReader(file, delimiter=";", skipinitialspace=True))
        rows += [(f"{int(x['ClassId']):05d}", test / x["Filename"], TEST) for x in lines]
    return _listed(path, rows, sorted({name for name, _, _ in rows}))


def eurosat(path: Path) -> Part:
    """EuroSAT's RGB tiles: ten class folders under `2750`, no official split."""
    return folder(find(path, "2750"))


def dtd(path: Path) -> Part:
    """The Describable Textures: class folders, and the first of its ten official splits."""
    home = find(path, "dtd")
    split = {}
    for name in ("train", "val", "test"):
        lines = (home / "labels" / f"{name}1.txt").read_text().split()
        split |= dict.fromkeys(lines, SPLITS[name])
    rows = [
        (name, file, split[f"{name}/{file.name}"])
        for name, file, _ in _classes(home / "images")
    ]
    return _listed(home, rows, sorted({name for name, _, _ in rows}))
