"""Readers of array files: idx, `.npz`, MATLAB, STL-10's binaries, libsvm, CIFAR's pickles.

Every reader takes the folder of one data set and gives a `Part` with all the images that
are there, at their own size. Nothing is ever unpickled.
"""

import bz2
import gzip
import pickle
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..base import ArtifactError, ConfigError, DataMissingError
from .parts import SPLITS, TEST, TRAIN, Part, find, joined, reading
from .pixels import as_bytes

Arrays = tuple[np.ndarray | Tensor, np.ndarray]  # images n x c x h x w, and their labels
TEN = tuple("0123456789")


def idx(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """The array of bytes in an idx file, plain or gzipped.

    Raises:
        ArtifactError: if the file is cut short, too long, or not an idx file of bytes.

    Source: yann.lecun.com/exdb/mnist: 0, 0, type 8, rank, big-endian sizes, then the bytes.
    """
    with reading(path), (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        data = file.read()
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
    labels_of, files = {}, {}
    for stem, split in (("train", TRAIN), ("t10k", TEST)):
        kinds = (f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte")
        images, labels = (find(folder, kind, f"{kind}.gz") for kind in kinds)
        if bool(images) != bool(labels):
            raise ArtifactError(
                f"{folder} has {images or labels} without its {stem} partner"
            )
        labels_of[images], files[images] = labels, split

    def read(images: Path) -> Arrays:
        return idx(images)[:, None], idx(labels_of[images])

    return joined(folder, files, read, class_names)


def npz(path: Path) -> Mapping[str, np.ndarray]:
    """Every array of a `.npz` file; one that holds pickled objects is refused."""
    if not path.exists():
        raise DataMissingError(f"no pack at {path}")
    with reading(path), np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


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
    return _texts(arrays[key].tolist())


def _texts(words: Iterable[object]) -> tuple[str, ...]:
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


def medmnist(folder: Path, *, stem: str, class_names: Iterable[str]) -> Part:
    """MedMNIST's `.npz`: train, val and test arrays; its labels are N x 1."""
    arrays = npz(path := find(folder, f"{stem}.npz"))
    names = [name for name in SPLITS if {f"{name}_images", f"{name}_labels"} <= set(arrays)]

    def read(part: Path) -> Arrays:
        labels = arrays[f"{part.name}_labels"][:, 0].astype(int)
        return as_bytes(arrays[f"{part.name}_images"], path), labels

    return joined(path, {path / name: SPLITS[name] for name in names}, read, class_names)


def svhn(folder: Path) -> Part:
    """SVHN's cropped digits: X is 32 x 32 x 3 x N, and label 10 is the digit 0."""
    from scipy.io import loadmat  # loads a good part of scipy

    def read(path: Path) -> Arrays:
        arrays = loadmat(path)
        return arrays["X"].transpose(3, 2, 0, 1), arrays["y"][:, 0].astype(int) % 10

    files = {"train_32x32.mat": TRAIN, "test_32x32.mat": TEST}
    return joined(folder, {find(folder, n): k for n, k in files.items()}, read, TEN)


def stl10(folder: Path) -> Part:
    """STL-10's binaries: 3 x 96 x 96 bytes an image, column after column; labels from 1."""
    home = find(folder, "stl10_binary")

    def read(path: Path) -> Arrays:
        pixels = np.fromfile(path, np.uint8)
        if pixels.size % (3 * 96 * 96):
            raise ArtifactError(f"{path} is cut short: {pixels.size} bytes, 27648 an image")
        labels = np.fromfile(path.with_name(path.name.replace("X", "y")), np.uint8)
        return pixels.reshape(-1, 3, 96, 96).swapaxes(2, 3), labels.astype(int) - 1

    names = (home / "class_names.txt").read_text(encoding="utf-8").split()
    files = {"train_X.bin": TRAIN, "test_X.bin": TEST}
    return joined(home, {find(home, n): k for n, k in files.items()}, read, names)


def usps(folder: Path) -> Part:
    """USPS in libsvm text: label + 1, then 256 values from -1 to 1.

    Source: byte = floor(255 (x + 1) / 2), the rule of torchvision's USPS.
    """
    from sklearn.datasets import load_svmlight_file  # takes a second to import

    def read(path: Path) -> Arrays:
        with bz2.open(path) as file:
            values, labels = load_svmlight_file(file, n_features=256)
        images = ((values.toarray() + 1) / 2 * 255).astype(np.uint8)
        return images.reshape(-1, 1, 16, 16), labels.astype(int) - 1

    files = {"usps.bz2": TRAIN, "usps.t.bz2": TEST}
    return joined(folder, {find(folder, n): k for n, k in files.items()}, read, TEN)


def digits(_folder: Path) -> Part:
    """The 1,797 real handwritten digits of scikit-learn, 8 x 8, 17 grey levels."""
    from sklearn.datasets import load_digits  # takes a second to import

    found = load_digits()
    images = np.round(found.images * 255 / 16).astype(np.uint8)
    return Part(
        where=Path("scikit-learn"),
        images=torch.from_numpy(images)[:, None],
        labels=torch.from_numpy(found.target.astype(np.int64)),
        class_names=TEN,
    )


class Recorded:
    """Stands in for every object in a pickle: keeps its arguments and does nothing."""

    def __init__(self, *args: object) -> None:
        self.args, self.state = args, ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> UInt8[np.ndarray, "*shape"]:
        """The pickled numpy array of bytes that this one recorded."""
        _, shape, dtype, fortran, data = self.state
        if dtype.args[0] not in ("u1", b"u1") or fortran:
            raise ValueError(f"want an array of bytes in C order, got {dtype.args}")
        return np.frombuffer(data, np.uint8).reshape(shape).copy()


class DataOnly(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, strings, arrays; calls nothing a file names."""

    NAMED = (
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    )

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in self.NAMED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return Recorded


def unpickle(path: Path) -> dict[str, object]:
    """The dictionary in one of CIFAR's files, without unpickling: see `DataOnly`.

    Raises:
        ArtifactError: if the file is damaged or asks for anything but data.
    """
    with reading(path), path.open("rb") as file:
        found = DataOnly(file, encoding="bytes").load()
        items = {k.decode() if isinstance(k, bytes) else k: v for k, v in found.items()}
        return {k: v.array() if isinstance(v, Recorded) else v for k, v in items.items()}


def _batch(path: Path, key: str) -> tuple[np.ndarray, Sequence[int]]:
    batch = unpickle(path)
    if missing := {"data", key} - set(batch):
        raise ArtifactError(f"{path} lacks {sorted(missing)}")
    return batch["data"].reshape(-1, 3, 32, 32), batch[key]


def cifar10(folder: Path) -> Part:
    """CIFAR-10's python version: five training batches and one test batch."""
    home = find(folder, "cifar-10-batches-py")
    files = {f"data_batch_{i}": TRAIN for i in range(1, 6)} | {"test_batch": TEST}
    paths = {home / name: split for name, split in files.items()}
    names = _texts(unpickle(home / "batches.meta")["label_names"])
    return joined(home, paths, partial(_batch, key="labels"), names)


def cifar100(folder: Path) -> Part:
    """CIFAR-100's python version; the 20 superclasses are the groups."""
    home = find(folder, "cifar-100-python")
    meta, train = unpickle(home / "meta"), unpickle(home / "train")
    names, above = _texts(meta["fine_label_names"]), _texts(meta["coarse_label_names"])
    coarse = dict(zip(train["fine_labels"], train["coarse_labels"], strict=True))
    paths = {home / "train": TRAIN, home / "test": TEST}
    part = joined(home, paths, partial(_batch, key="fine_labels"), names)
    return replace(part, groups=tuple(above[coarse[k]] for k in range(len(names))))
