"""CIFAR-10 and CIFAR-100: their files are pickles, read here without unpickling."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from ..base import ArtifactError
from .formats import BROKEN, TEST, TRAIN, Part, find, joined


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
        return np.frombuffer(data, np.uint8).reshape(shape)


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
    try:
        with path.open("rb") as file:
            found = DataOnly(file, encoding="bytes").load()
        items = {k.decode() if isinstance(k, bytes) else k: v for k, v in found.items()}
        return {k: v.array() if isinstance(v, Recorded) else v for k, v in items.items()}
    except (
        *BROKEN,
        pickle.PickleError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise ArtifactError(f"{path} is no file of CIFAR's: {error}") from error


def _texts(names: Sequence[str | bytes]) -> tuple[str, ...]:
    return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)


def _cifar(home: Path, batches: Mapping[str, int], key: str, names: Sequence[str]) -> Part:
    pieces = []
    for name, split in batches.items():
        batch = unpickle(home / name)
        if missing := {"data", key} - set(batch):
            raise ArtifactError(f"{home / name} lacks {sorted(missing)}")
        images = batch["data"].reshape(-1, 3, 32, 32)
        pieces.append((home / name, images.copy(), batch[key], split))
    return joined(home, pieces, names)


def cifar10(folder: Path) -> Part:
    """CIFAR-10's python version: five training batches and one test batch."""
    home = find(folder, "cifar-10-batches-py")
    batches = {f"data_batch_{i}": TRAIN for i in range(1, 6)} | {"test_batch": TEST}
    names = _texts(unpickle(home / "batches.meta")["label_names"])
    return _cifar(home, batches, "labels", names)


def cifar100(folder: Path) -> Part:
    """CIFAR-100's python version; the 20 superclasses are the groups."""
    home = find(folder, "cifar-100-python")
    meta, train = unpickle(home / "meta"), unpickle(home / "train")
    names, above = _texts(meta["fine_label_names"]), _texts(meta["coarse_label_names"])
    coarse = dict(zip(train["fine_labels"], train["coarse_labels"], strict=True))
    part = _cifar(home, {"train": TRAIN, "test": TEST}, "fine_labels", names)
    return replace(part, groups=tuple(above[coarse[k]] for k in range(len(names))))
