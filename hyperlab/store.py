"""Arrays on disk, filled batch by batch: killed at any moment, resumed, written by many at once.

A store is one Zarr group with named dimensions, so `xarray.open_zarr` shows and slices it. Every
array is chunked by batches of rows. A batch's mark (a checksum of its numbers) is written last, so
that a batch is there whole or not at all, and a killed run resumes with what is missing.
"""

import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

import fsspec
import numpy as np
import xarray as xr
import zarr
from zarr.errors import ContainsArrayError, ContainsGroupError

from .base import (
    ArtifactError,
    DataMissingError,
    HyperlabError,
    Progress,
    differences,
    expanded,
    silent,
)

FORMAT = 1
Kind = TypeVar("Kind", bound="Store")
PARTIAL = ".partial"  # how Zarr calls a file until it is whole
LITTER_S = 60  # a half-written file that nobody has touched for so long is swept away


@dataclass(frozen=True)
class Column:
    """One array: its named dimensions, of which the first counts rows, its type and filling."""

    dims: tuple[str, ...]
    dtype: str
    fill: int = 0


class Store:
    """Batches of rows: `create`, `write` one batch, `missing`, `batch`. A kind names its columns.

    Args:
        path: a folder, or an address that fsspec understands (s3://...).
    """

    columns: ClassVar[Mapping[str, Column]]
    kind: ClassVar[str]  # what the rows are, e.g. "trajectories"
    script: ClassVar[str]  # the command that makes such a store

    def __init__(self, path: Path | str, group: zarr.Group) -> None:
        self.path, self.group = path, group

    @classmethod
    def create(
        cls: type[Kind],
        path: Path | str,
        sizes: Mapping[str, int],
        *,
        batch: int,
        about: Mapping[str, object],
    ) -> Kind:
        """A new empty store, or the one that is there if it was made with the same `about`.

        Two processes may create the same store at the same time.

        Args:
            sizes: length of every dimension.
            batch: rows in a chunk.
            about: configuration, seed, what was used; kept with the data.
        """
        path = expanded(path)
        try:
            if _names(path) and not cls._is_begun(path):
                store = cls.open(path)
                store.require(about)
                return store
            with storage():
                group = cls._arrays(path, sizes, batch)
                group.attrs.update({"format": FORMAT, "batch": batch, **about})
        except (OSError, ImportError) as error:
            raise ArtifactError(
                f"cannot make a store at {path} ({error}); choose a folder you may write to"
            ) from error
        return cls(path, group)

    @classmethod
    def _arrays(cls, path: Path | str, sizes: Mapping[str, int], batch: int) -> zarr.Group:
        """All arrays, empty. What is there already stays: a second process may be as far."""
        try:
            group = zarr.open_group(str(path), mode="a")
        except ContainsGroupError:  # made since it was looked for
            group = zarr.open_group(str(path), mode="r+")
        rows = sizes[next(iter(cls.columns.values())).dims[0]]
        marks = Column(("batch",), "u4")
        for name, column in {**cls.columns, "mark": marks}.items():
            shape = tuple({**sizes, "batch": -(-rows // batch)}[d] for d in column.dims)
            with suppress(ContainsArrayError):
                group.create_array(
                    name,
                    shape=shape,
                    chunks=(1 if name == "mark" else batch, *shape[1:]),
                    dtype=column.dtype,
                    dimension_names=column.dims,
                    fill_value=column.fill,
                )
        return group

    @classmethod
    def _is_begun(cls, path: Path | str) -> bool:
        """Whether somebody began to make a store there: our arrays, but not a word about them."""
        try:
            with storage():
                group = zarr.open_group(str(path), mode="r")
                begun = {*group.array_keys()} <= {*cls.columns, "mark"}
        except (OSError, ValueError, KeyError, ImportError):
            return False
        return begun and not group.attrs

    @classmethod
    def open(cls: type[Kind], path: Path | str) -> Kind:
        """A store that is there."""
        path = expanded(path)
        try:
            there = _names(path)
            with storage():
                group = zarr.open_group(str(path), mode="r+") if there else None
                lacking = {*cls.columns, "mark"} - set(group.array_keys() if there else ())
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ArtifactError(f"{path} is no readable store ({error})") from error
        if not there:
            raise DataMissingError(f"no {cls.kind} at {path}; run: {cls.script}")
        if lacking or group.attrs.get("format") != FORMAT:
            raise ArtifactError(
                f"{path} is no whole store of {cls.kind}: it lacks {sorted(lacking)} and has "
                f"format {group.attrs.get('format')!r}; remove it and collect again"
            )
        return cls(path, group)

    def require(self, about: Mapping[str, object]) -> None:
        """Raise ArtifactError unless the store was made with exactly this configuration."""
        kept = {key: self.group.attrs.get(key) for key in about}
        if differ := differences(kept, about):
            raise ArtifactError(
                f"{self.path} was made with other settings ({'; '.join(differ)}); "
                "choose another folder or the same configuration"
            )

    @property
    def missing(self) -> list[int]:
        """The batches that are not there yet."""
        return np.flatnonzero(self.group["mark"][:] == 0).tolist()

    @property
    def there(self) -> list[int]:
        """The batches that are marked as whole."""
        return np.flatnonzero(self.group["mark"][:]).tolist()

    @property
    def n_rows(self) -> int:
        """How many rows the store is made for."""
        return self._open[next(iter(self.columns))].shape[0]

    @property
    def n_bytes(self) -> int:
        """Bytes of all rows in memory, there or not."""
        return sum(self.group[name].nbytes for name in self.columns)

    def write(self, batch: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one batch, its mark last."""
        columns = self.columns.items()
        cast = {n: np.ascontiguousarray(arrays[n], dtype=c.dtype) for n, c in columns}
        try:
            with storage():
                self._open["mark"][batch] = 0
                for name, array in cast.items():
                    self._open[name][self.rows(batch)] = array
                self._open["mark"][batch] = checksum(cast)
        except OSError as error:
            raise ArtifactError(
                f"batch {batch} could not be written to {self.path} ({error}); the others are "
                "untouched: make room or give the right to write, then run again to resume"
            ) from error

    def batch(self, batch: int) -> dict[str, np.ndarray]:
        """The rows of one batch, every array of them."""
        rows = self.rows(batch)
        try:
            with storage():
                mark = int(self._open["mark"][batch])
                arrays = {name: self._open[name][rows] for name in self.columns}
        except (OSError, ValueError, RuntimeError) as error:  # a chunk that is half there
            raise self.broken([batch]) from error
        if mark != checksum(arrays):
            raise self.broken([batch])
        return arrays

    def damaged(self, *, progress: Progress = silent) -> list[int]:
        """Batches whose numbers differ from their mark, or cannot be read at all."""
        there, broken = self.there, []
        for batch in progress(there, total=len(there), desc=f"checking {self.kind}"):
            try:
                self.batch(batch)
            except ArtifactError:
                broken.append(batch)
        return broken

    def dataset(self) -> xr.Dataset:
        """The store as a lazy xarray table with named dimensions."""
        return xr.open_zarr(str(self.path), consolidated=False, chunks=None)

    def sweep(self) -> None:
        """Remove what killed writers left half-written; it counts for nothing, but takes room."""
        if "://" in str(self.path):
            return  # objects are there whole or not at all
        for file in Path(self.path).rglob(f"*{PARTIAL}"):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > LITTER_S:
                    file.unlink()

    @cached_property
    def _open(self) -> dict[str, zarr.Array]:
        """The arrays; to open one takes as long as to read some numbers."""
        return {name: self.group[name] for name in (*self.columns, "mark")}

    def broken(self, batches: list[int]) -> ArtifactError:
        """The error that names some batches as damaged, and says what to do."""
        return ArtifactError(
            f"{self.path}: batches {batches} are damaged; collect again with the same "
            "configuration, which makes them anew and keeps the others"
        )

    def rows(self, batch: int) -> slice:
        """Where the rows of a batch lie."""
        size = self.group.attrs["batch"]
        return slice(batch * size, min((batch + 1) * size, self.n_rows))


def checksum(arrays: Mapping[str, np.ndarray]) -> int:
    """A number that changes with any number of a batch; never 0, which means: not there."""
    crc = 0
    for array in arrays.values():
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return max(crc, 1)


@contextmanager
def storage() -> Iterator[None]:
    """Inside, what a kind of storage raises of its own becomes an OSError.

    S3's client, for one, knows neither OSError nor ValueError.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, RuntimeError, ImportError, HyperlabError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def whole_address(path: Path | str) -> str:
    """An address that means the same in another process."""
    return str(path) if "://" in str(path) else str(Path(expanded(path)).absolute())


def _names(path: Path | str) -> set[str]:
    """What lies at `path`, without what a killed writer left."""
    with storage():
        files, root = fsspec.core.url_to_fs(str(path))
        found = files.ls(root, detail=False) if files.isdir(root) else []
    return {name for p in found if not (name := Path(p).name).endswith(PARTIAL)}
