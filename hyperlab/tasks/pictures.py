"""Readers of data sets that are image files: Omniglot, GTSRB, EuroSAT, DTD."""

import csv
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from ..base import ArtifactError, ConfigError, Progress
from ..identity import checksum
from . import folders, pixels
from .formats import SPLITS, TEST, TRAIN, File, Listing, Part, find, listed, pack
from .records import Record

LIMIT_BYTES = 4 * 2**30  # images of one domain in memory; more are decoded on demand


@dataclass(frozen=True, eq=False)
class OnDemand:
    """Image files that are decoded when they are asked for: a domain larger than memory."""

    files: Sequence[File]
    size: int
    dtype: str = "uint8"

    def __len__(self) -> int:
        return len(self.files)

    @property
    def checksum(self) -> str:
        """Of the files, none of them decoded: names, sizes and times of change; a zip's own."""
        once = cache(checksum)

        def stamp(file: File) -> object:
            if isinstance(file, zipfile.Path):
                return file.at, file.root.getinfo(file.at).CRC
            if isinstance(file, Record):
                return file.offset, file.length, once(file.path)
            return file

        return checksum(self.size, [stamp(file) for file in self.files])

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
        ArtifactError: if a file is damaged or no image.
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
        return pixels.decode(file, size).pixels
    except ConfigError as error:
        raise ArtifactError(f"{file}: {error}") from error
    except (OSError, ValueError, SyntaxError, zlib.error, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{file} is damaged or no image: {error}") from error
    except Image.DecompressionBombError as error:
        raise ArtifactError(f"{file} is too large: {error}") from error


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
    return _with_alphabets(listed(path, rows, classes))


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
    rows = folders.scan(training).images if training else []
    test, table = find(path, "GTSRB/Final_Test/Images"), find(path, "GT-final_test.csv")
    if test and table:
        with table.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file, delimiter=";", skipinitialspace=True))
        rows += [(f"{int(x['ClassId']):05d}", test / x["Filename"], TEST) for x in lines]
    return listed(path, rows, sorted({name for name, _, _ in rows}))


def eurosat(path: Path) -> Part:
    """EuroSAT's RGB tiles: ten class folders under `2750`, no official split."""
    return folders.scan(find(path, "2750")).part


def dtd(path: Path) -> Part:
    """The Describable Textures: class folders, and the first of its ten official splits."""
    home = find(path, "dtd")
    split = {}
    for name in ("train", "val", "test"):
        lines = (home / "labels" / f"{name}1.txt").read_text(encoding="utf-8").split()
        split |= dict.fromkeys(lines, SPLITS[name])
    rows = [
        (name, file, split[f"{name}/{file.name}"])
        for name, file, _ in folders.scan(home / "images").images
    ]
    return listed(home, rows, sorted({name for name, _, _ in rows}))
