"""Readers of array files: idx, `.npz`, MATLAB, STL-10's binaries, libsvm, CIFAR's pickles.

Every reader takes the folder of one data set and gives a `Part` with all the images that
are there, at their own size. What is damaged, cut short, foreign or incomplete is an
ArtifactError that names it; a pack of another form is a ConfigError. Nothing is ever unpickled.
"""

import bz2
import gzip
import pickle
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..base import ArtifactError, ConfigError, DataMissingError
from .parts import SPLITS, TEST, TRAIN, Part, find, joined, reading
from .pixels import as_bytes

Arrays = tuple[np.ndarray | Tensor, np.ndarray]  # images n x c x h x w, and their labels


def idx(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """The array of bytes in an idx file, plain or gzipped.

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


def mnist(folder: Path, *, class_names: Sequence[str]) -> Part:
    """The train-* and t10k-* idx files of the MNIST family, plain or gzipped."""
    pair = "{0}-images-idx3-ubyte* {0}-labels-idx1-ubyte*"
    return joined(
        folder,
        files={pair.format("train"): TRAIN, pair.format("t10k"): TEST},
        read=lambda images, labels: (idx(images)[:, None], idx(labels)),
        class_names=class_names,
    )


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
    """
    if missing := sorted({"images", "labels"} - set(arrays)):
        raise ConfigError(f"{path} lacks {missing}; it has {sorted(arrays)}")
    labels = arrays["labels"]
    if labels.dtype.kind not in "iu" or labels.ndim != 1 or not len(labels):
        raise ConfigError(
            f"{path}: labels are {labels.dtype} {labels.shape}; want N integers"
        )
    names, groups = (_words(arrays, key, path) for key in ("class_names", "groups"))
    split = _split(arrays, path)
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
    if (words := arrays.get(key)) is None:
        return None
    if words.ndim != 1:
        raise ConfigError(f"{path}: {key} has shape {words.shape}; want one a class")
    return _texts(words.tolist())


def _texts(words: Iterable[object]) -> tuple[str, ...]:
    return tuple(
        w.decode("utf-8", "replace") if isinstance(w, bytes) else str(w) for w in words
    )


def _split(arrays: Mapping[str, np.ndarray], path: Path) -> Int64[Tensor, " n"] | None:
    labels, of_class = arrays["labels"], arrays.get("class_split")
    key = "split" if of_class is None else "class_split"
    if (split := arrays.get(key)) is None:
        return None
    if split.dtype.kind not in "biuf" or not np.isin(split, [*SPLITS.values()]).all():
        raise ConfigError(f"{path}: {key} holds other than the numbers of {SPLITS}")
    if of_class is not None:
        if split.ndim != 1 or not 0 <= labels.min() <= labels.max() < len(split):
            raise ConfigError(
                f"{path}: class_split {split.shape} has no number for each of the labels "
                f"{labels.min()} to {labels.max()}"
            )
        split = split[labels]
    return torch.from_numpy(split.astype(np.int64))


def medmnist(folder: Path, *, stem: str, class_names: Sequence[str]) -> Part:
    """MedMNIST's `.npz`: train, val and test arrays; its labels are N x 1."""
    arrays = npz(path := find(folder, f"{stem}.npz"))
    names = [name for name in SPLITS if {f"{name}_images", f"{name}_labels"} <= set(arrays)]
    labels = [arrays[f"{name}_labels"][:, 0] for name in names]
    whole = {
        "images": np.concatenate([arrays[f"{name}_images"] for name in names]),
        "labels": np.concatenate(labels),
        "split": np.repeat([SPLITS[name] for name in names], list(map(len, labels))),
        "class_names": np.array(class_names),
    }
    return of_arrays(whole, path)


def svhn(folder: Path) -> Part:
    """SVHN's cropped digits: X is 32 x 32 x 3 x N, and label 10 is the digit 0."""
    from scipy.io import loadmat  # loads a good part of scipy

    def read(path: Path) -> Arrays:
        arrays = loadmat(path)
        return arrays["X"].transpose(3, 2, 0, 1), arrays["y"][:, 0].astype(int) % 10

    return joined(
        folder, files={"train_32x32.mat": TRAIN, "test_32x32.mat": TEST}, read=read
    )


def stl10(folder: Path) -> Part:
    """STL-10's binaries: 3 x 96 x 96 bytes an image, column after column; labels from 1."""

    def read(*paths: Path) -> Arrays:
        images, labels = (np.fromfile(path, np.uint8) for path in paths)
        return images.reshape(-1, 3, 96, 96).swapaxes(2, 3), labels.astype(int) - 1

    names = find(folder, "stl10_binary") / "class_names.txt"
    return joined(
        folder,
        files={"train_X.bin train_y.bin": TRAIN, "test_X.bin test_y.bin": TEST},
        read=read,
        class_names=names.read_text(encoding="utf-8").split(),
    )


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

    return joined(folder, files={"usps.bz2": TRAIN, "usps.t.bz2": TEST}, read=read)


def digits(_folder: Path) -> Part:
    """The 1,797 real handwritten digits of scikit-learn, 8 x 8, 17 grey levels."""
    from sklearn.datasets import load_digits  # takes a second to import

    found = load_digits()
    images = np.round(found.images * 255 / 16).astype(np.uint8)
    return of_arrays({"images": images, "labels": found.target}, Path("scikit-learn"))


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
    """The dictionary in one of CIFAR's files, without unpickling: see `DataOnly`."""
    with reading(path), path.open("rb") as file:
        found = DataOnly(file, encoding="bytes").load()
        items = {k.decode() if isinstance(k, bytes) else k: v for k, v in found.items()}
        return {k: v.array() if isinstance(v, Recorded) else v for k, v in items.items()}


def _cifar(
    folder: Path, files: Mapping[str, int], key: str, class_names: Sequence[str]
) -> Part:
    def read(path: Path) -> tuple[np.ndarray, list[int]]:
        batch = unpickle(path)
        return batch["data"].reshape(-1, 3, 32, 32), batch[key]

    return joined(folder, files=files, read=read, class_names=class_names, whole=True)


def cifar10(folder: Path) -> Part:
    """CIFAR-10's python version: five training batches and one test batch."""
    home = find(folder, "cifar-10-batches-py")
    files = {f"data_batch_{i}": TRAIN for i in range(1, 6)} | {"test_batch": TEST}
    names = _texts(unpickle(home / "batches.meta")["label_names"])
    return _cifar(home, files, "labels", names)


def cifar100(folder: Path) -> Part:
    """CIFAR-100's python version; the 20 superclasses are the groups."""
    home = find(folder, "cifar-100-python")
    meta, train = unpickle(home / "meta"), unpickle(home / "train")
    names, above = _texts(meta["fine_label_names"]), _texts(meta["coarse_label_names"])
    coarse = dict(zip(train["fine_labels"], train["coarse_labels"], strict=True))
    part = _cifar(home, {"train": TRAIN, "test": TEST}, "fine_labels", names)
    return replace(part, groups=tuple(above[coarse[k]] for k in range(len(names))))
