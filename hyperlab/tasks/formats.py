"""Readers of array files: idx, `.npz`, MATLAB, STL-10's binaries and libsvm.

Every reader takes the folder of one data set and gives a `Part` with all the images that
are there, at their own size. Nothing is ever unpickled.
"""

import bz2
import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.nn import functional

from ..base import ArtifactError, ConfigError, DataMissingError, choose
from .hierarchy import ClassGraph
from .records import Record

SPLITS = {"train": 0, "test": 1, "val": 2}
TRAIN, TEST, VAL = SPLITS.values()
TOPS = (1, 255, 4_095, 65_535)  # of whole numbers what is white: masks, 8, 12 and 16 bits
File = Path | zipfile.Path | Record
Listing = Sequence[tuple[str, File, int]]  # class name, image file, split number
BROKEN = (EOFError, ValueError, OSError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What a reader found: a domain at its native size and without its name.

    Raises:
        ArtifactError: if there are more or fewer labels than images.
    """

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
        images = self.images
        rows = (
            images[keep]
            if isinstance(images, Tensor)
            else [images[i] for i in keep.tolist()]
        )
        present, labels = self.labels[keep].unique(return_inverse=True)
        part = replace(
            self, images=rows, labels=labels, split=None, class_names=(), groups=None
        )
        return part._named_like(self, present.tolist())

    def _named_like(self, other: "Part", classes: list[int]) -> "Part":
        names = tuple(other.class_names[c] for c in classes)
        groups = other.groups and tuple(other.groups[c] for c in classes)
        return replace(self, class_names=names, groups=groups)


def fit(images: UInt8[Tensor, " n c h w"], size: int) -> UInt8[Tensor, " n c size size"]:
    """Cut the middle square out of each image and resample it (antialiased bilinear)."""
    side = min(images.shape[-2:])
    top, left = ((n - side) // 2 for n in images.shape[-2:])
    images = images[..., top : top + side, left : left + side]
    if side == size:
        return images.contiguous()
    small = images.new_empty(*images.shape[:2], size, size)
    for rows, chunk in zip(small.split(2048), images.split(2048), strict=True):
        new = functional.interpolate(
            chunk.float(), (size, size), mode="bilinear", antialias=True
        )
        rows.copy_(new.round_().clamp_(0, 255))
    return small


def find(folder: Path, *names: str) -> Path | None:
    """The first of `names` in the folder, or one level below (an unpacked archive)."""
    places = (
        p for name in names for p in (folder / name, *sorted(folder.glob(f"*/{name}")))
    )
    return next((place for place in places if place.exists()), None)


def joined(where: Path, pieces: list[tuple], class_names: Iterable[str]) -> Part:
    """One part from (path, images, labels, split number) of several files."""
    if not pieces:
        raise ArtifactError(f"{where} holds no complete pair of images and labels")
    for path, images, labels, _ in pieces:
        if len(images) != len(labels):
            raise ArtifactError(f"{path} has {len(images)} images and {len(labels)} labels")
    return Part(
        where=where,
        images=torch.cat([torch.as_tensor(images) for _, images, _, _ in pieces]),
        labels=torch.cat(
            [torch.as_tensor(labels, dtype=torch.int64) for *_, labels, _ in pieces]
        ),
        split=torch.cat([torch.full((len(labels),), k) for *_, labels, k in pieces]),
        class_names=tuple(class_names),
    )


def listed(
    where: Path, rows: Listing, classes: Sequence[str], *, has_split: bool = True
) -> Part:
    """One part from image files with the names of their classes and their split numbers."""
    number = {name: k for k, name in enumerate(classes)}
    return Part(
        where=where,
        images=[file for _, file, _ in rows],
        labels=torch.tensor([number[name] for name, _, _ in rows], dtype=torch.int64),
        split=torch.tensor([split for *_, split in rows]) if has_split else None,
        class_names=tuple(classes),
    )


def idx(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """The array of bytes in an idx file, plain or gzipped.

    Raises:
        ArtifactError: if the file is cut short, too long, or not an idx file of bytes.

    Source: yann.lecun.com/exdb/mnist: 0, 0, type 8, rank, big-endian sizes, then the bytes.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read()
    except BROKEN as error:
        raise ArtifactError(f"{path} is damaged or cut short: {error}") from error
    if data[:3] != b"\0\0\x08" or len(data) < 4 or len(data) < 4 + 4 * data[3]:
        raise ArtifactError(f"{path} is no idx file of bytes; it starts with {data[:4]!r}")
    shape = struct.unpack_from(f">{data[3]}I", data, offset=4)
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if body.size != np.prod(shape, dtype=object):
        raise ArtifactError(
            f"{path} announces {shape} and holds {body.size} bytes; get it again"
        )
    return body.reshape(shape).copy()


def mnist(folder: Path, *, class_names: Iterable[str]) -> Part:
    """The train-* and t10k-* idx files of the MNIST family; either pair may be missing, no half."""
    pieces = []
    for stem, split in (("train", TRAIN), ("t10k", TEST)):
        pixels, names = f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"
        images, labels = (
            find(folder, pixels, f"{pixels}.gz"),
            find(folder, names, f"{names}.gz"),
        )
        if bool(images) != bool(labels):
            raise ArtifactError(
                f"{folder} has {images or labels} without its {stem} partner"
            )
        if images:
            pieces.append((images, idx(images)[:, None], idx(labels), split))
    return joined(folder, pieces, class_names)


def npz(path: Path) -> Mapping[str, np.ndarray]:
    """Every array of a `.npz` file; one that holds pickled objects is refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError as error:
        raise DataMissingError(f"no pack at {path}") from error
    except (*BROKEN, AttributeError) as error:  # a bare .npy has no `files`
        raise ArtifactError(
            f"{path} is damaged, foreign or holds pickles: {error}"
        ) from error


def pack(path: Path) -> Part:
    """A `.npz` pack, see `of_arrays`."""
    return of_arrays(npz(path), path)


def of_arrays(arrays: Mapping[str, np.ndarray], path: Path) -> Part:
    """A pack: `images` N x H x W (x C), `labels` N; the rest may be missing.

    `class_names` and `groups` have one a class; `split` one an image or `class_split` one a
    class: see SPLITS. Without `class_names` the classes are the labels that occur.

    Raises:
        ConfigError: if an array is missing, of another form, or an image holds NaN.
    """
    if missing := sorted({"images", "labels"} - set(arrays)):
        raise ConfigError(f"{path} lacks {missing}; it has {sorted(arrays)}")
    labels = arrays["labels"]
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels):
        raise ConfigError(
            f"{path}: labels are {labels.dtype} {labels.shape}; want N integers"
        )
    names, split = _words(arrays, "class_names", path), _split(arrays, labels, path)
    groups = _words(arrays, "groups", path)
    if labels.min() < 0 or (names is not None and labels.max() >= len(names)):
        raise ConfigError(
            f"{path}: labels run {labels.min()} to {labels.max()} for {len(names or ())} "
            "classes; they count class_names from 0"
        )
    if names is None:
        present, labels = np.unique(labels, return_inverse=True)
        names = tuple(map(str, present.tolist()))
        if groups and present[-1] < len(groups):
            groups = tuple(groups[k] for k in present.tolist())
    return Part(
        where=path,
        images=as_bytes(arrays["images"], path),
        labels=torch.from_numpy(labels.astype(np.int64)),
        class_names=names,
        groups=groups,
        split=split,
    )


def _words(
    arrays: Mapping[str, np.ndarray], key: str, path: Path
) -> tuple[str, ...] | None:
    if key not in arrays:
        return None
    if arrays[key].ndim != 1:
        raise ConfigError(f"{path}: {key} has shape {arrays[key].shape}; want one a class")
    words = arrays[key].tolist()
    return tuple(
        w.decode("utf-8", "replace") if isinstance(w, bytes) else str(w) for w in words
    )


def _split(
    arrays: Mapping[str, np.ndarray], labels: np.ndarray, path: Path
) -> Int64[Tensor, " n"] | None:
    key = "class_split" if "class_split" in arrays else "split"
    if (split := arrays.get(key)) is None:
        return None
    if split.dtype.kind not in "biuf" or not np.isin(split, [*SPLITS.values()]).all():
        raise ConfigError(f"{path}: {key} holds other than the numbers of {SPLITS}")
    if key == "class_split":
        if split.ndim != 1 or not 0 <= labels.min() <= labels.max() < len(split):
            raise ConfigError(
                f"{path}: class_split {split.shape} has no number for each of the labels "
                f"{labels.min()} to {labels.max()}"
            )
        split = split[labels]
    return torch.from_numpy(split.astype(np.int64))


def as_bytes(images: np.ndarray, where: Path) -> UInt8[Tensor, " n c h w"]:
    """N x H x W (x C) numbers as uint8 N x C x H x W.

    Floating ones count from 0 to 1, whole ones from 0 to 255, or to 1 where none is above; those
    of 16 bits to the first of TOPS that holds them all.
    """
    images = images[..., None] if images.ndim == 3 else images
    form = images.ndim == 4 and images.shape[-1] in (1, 3) and 0 not in images.shape[1:]
    if not form or images.dtype.kind not in "buif":
        raise ConfigError(
            f"{where}: images are {images.dtype} {images.shape}; want N x H x W (x 1 or 3)"
        )
    if n_bad := (~np.isfinite(images)).any(axis=(1, 2, 3)).sum():
        raise ConfigError(f"{where}: {n_bad} of {len(images)} images hold NaN or infinity")
    low, high = (images.min(), images.max()) if images.size else (0, 0)
    tops = TOPS[:1] if images.dtype.kind in "bf" else TOPS[:2]
    tops = TOPS if images.dtype == np.uint16 else tops
    if not 0 <= low <= high <= tops[-1]:
        raise ConfigError(
            f"{where}: {images.dtype} pixels from {low} to {high} leave the range 0 to "
            f"{tops[-1]}; save them as uint8, or as floating ones from 0 to 1"
        )
    top = next(top for top in tops if high <= top)
    if top != 255:
        images = np.round(images.astype(np.float32) * (255 / top))
    return torch.from_numpy(images.astype(np.uint8)).permute(0, 3, 1, 2)


def medmnist(folder: Path, *, stem: str, class_names: Iterable[str]) -> Part:
    """MedMNIST's `.npz`: train, val and test arrays; its labels are N x 1."""
    path = find(folder, f"{stem}.npz")
    arrays = npz(path)
    pieces = []
    for name, split in SPLITS.items():
        if f"{name}_images" in arrays and f"{name}_labels" in arrays:
            images = as_bytes(arrays[f"{name}_images"], path)
            pieces.append((path, images, arrays[f"{name}_labels"][:, 0].astype(int), split))
    return joined(path, pieces, class_names)


def svhn(folder: Path) -> Part:
    """SVHN's cropped digits: X is 32 x 32 x 3 x N, and label 10 is the digit 0."""
    from scipy.io import loadmat  # loads a good part of scipy
    from scipy.io.matlab import MatReadError

    pieces = []
    for name, split in (("train_32x32.mat", TRAIN), ("test_32x32.mat", TEST)):
        if path := find(folder, name):
            try:
                arrays = loadmat(path)
                images, labels = (
                    arrays["X"].transpose(3, 2, 0, 1),
                    arrays["y"][:, 0] % 10,
                )
            except (
                *BROKEN,
                MatReadError,
                KeyError,
                TypeError,
                NotImplementedError,
            ) as error:
                raise ArtifactError(f"{path} is damaged or foreign: {error}") from error
            pieces.append((path, images.copy(), labels.astype(int), split))
    return joined(folder, pieces, map(str, range(10)))


def stl10(folder: Path) -> Part:
    """STL-10's binaries: 3 x 96 x 96 bytes an image, column after column; labels from 1."""
    home = find(folder, "stl10_binary")
    pieces = []
    for name, split in (("train", TRAIN), ("test", TEST)):
        path, labels = home / f"{name}_X.bin", home / f"{name}_y.bin"
        if not path.exists():
            continue
        pixels = np.fromfile(path, np.uint8)
        if pixels.size % (3 * 96 * 96):
            raise ArtifactError(f"{path} is cut short: {pixels.size} bytes, 27648 an image")
        images = pixels.reshape(-1, 3, 96, 96).swapaxes(2, 3)
        pieces.append(
            (path, images.copy(), np.fromfile(labels, np.uint8).astype(int) - 1, split)
        )
    return joined(
        home, pieces, (home / "class_names.txt").read_text(encoding="utf-8").split()
    )


def usps(folder: Path) -> Part:
    """USPS in libsvm text: label + 1, then 256 values from -1 to 1.

    Source: byte = floor(255 (x + 1) / 2), the rule of torchvision's USPS.
    """
    from sklearn.datasets import load_svmlight_file  # takes a second to import

    pieces = []
    for name, split in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        if path := find(folder, name):
            try:
                with bz2.open(path) as file:
                    values, labels = load_svmlight_file(file, n_features=256)
            except BROKEN as error:
                raise ArtifactError(f"{path} is damaged or foreign: {error}") from error
            images = (
                ((values.toarray() + 1) / 2 * 255).astype(np.uint8).reshape(-1, 1, 16, 16)
            )
            pieces.append((path, images, labels.astype(int) - 1, split))
    return joined(folder, pieces, map(str, range(10)))


def digits(_folder: Path) -> Part:
    """The 1,797 real handwritten digits of scikit-learn, 8 x 8, 17 grey levels."""
    from sklearn.datasets import load_digits  # takes a second to import

    found = load_digits()
    return Part(
        where=Path("scikit-learn"),
        images=torch.from_numpy(np.round(found.images * 255 / 16).astype(np.uint8))[
            :, None
        ],
        labels=torch.from_numpy(found.target.astype(np.int64)),
        class_names=tuple(map(str, range(10))),
    )
