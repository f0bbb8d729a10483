"""Recorded fine-tuning: in memory, and as a store that survives being killed.

A store is one Zarr group with named dimensions, so `xarray.open_zarr` shows and slices it. Arrays
are chunked by batches of tasks; a batch's mark (a checksum of its bytes) is written last, so that a
batch is there whole or not at all, and a killed run resumes with what is missing.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
import zarr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..base import ArtifactError, DataMissingError
from .context import Context

FORMAT = 1
DIMENSIONS = {  # array -> named dimensions; the first is always the task
    "thetas": ("task", "knot", "param"),
    "losses": ("task", "knot"),
    "features": ("task", "image", "input"),
    "residual": ("task", "image", "dim"),
    "labels": ("task", "image"),
    "domain": ("task",),
    "styled": ("task",),
    "n_way": ("task",),
    "n_support": ("task",),
    "diverged": ("task",),
}
DTYPES = {"thetas": "f4", "losses": "f4", "features": "f2", "residual": "f2"}
SMALL = {"domain": "i2", "styled": "?", "n_way": "i2", "n_support": "i2", "diverged": "?"}


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Fine-tuning runs of many tasks, with the context of each, in memory.

    Args:
        times: of the knots, from 0 (pre-trained) to 1 (fine-tuned).
        losses: support loss at every knot.
        domain: index into `domains` of each task.
        token_size: numbers of theta that belong together, e.g. one layer's query bias.
    """

    thetas: Float[Tensor, " tasks knots params"]
    losses: Float[Tensor, " tasks knots"]
    contexts: Context
    domain: Int[Tensor, " tasks"]
    domains: tuple[str, ...]
    styled: Bool[Tensor, " tasks"]
    token_size: int

    def __len__(self) -> int:
        return len(self.thetas)

    @property
    def times(self) -> Float[Tensor, " knots"]:
        return torch.linspace(0, 1, self.thetas.shape[1], device=self.thetas.device)

    @property
    def displacement(self) -> Float[Tensor, " tasks params"]:
        """How far fine-tuning moved each task's parameters, theta(1) - theta(0)."""
        return self.thetas[:, -1] - self.thetas[:, 0]

    def context(self, rows: Int[Tensor, " batch"]) -> Context:
        """The padded contexts of some tasks, no longer than the longest of them."""
        labels = self.contexts.labels[rows]
        n = int((labels >= 0).sum(1).max())
        return Context(
            self.contexts.features[rows, :n],
            self.contexts.residual[rows, :n],
            labels[:, :n],
        )

    def to(self, device: torch.device | str) -> "Trajectories":
        """A copy on `device`."""
        moved = {
            n: getattr(self, n).to(device)
            for n in ("thetas", "losses", "contexts", "domain", "styled")
        }
        return replace(self, **moved)

    def of(self, rows: Int[Tensor, " batch"] | Bool[Tensor, " tasks"]) -> "Trajectories":
        """Some of the tasks."""
        c = self.contexts
        contexts = Context(c.features[rows], c.residual[rows], c.labels[rows])
        taken = {
            n: getattr(self, n)[rows] for n in ("thetas", "losses", "domain", "styled")
        }
        return replace(self, contexts=contexts, **taken)

    def unit(self) -> Float[Tensor, " params"]:
        """The root mean square displacement of each token, 0 where fine-tuning moves nothing.

        A token under a thousandth of the largest is rounding noise (the inert key biases).
        """
        tokens = self.displacement.unflatten(1, (-1, self.token_size))
        rms = tokens.square().mean((0, 2)).sqrt()
        rms = rms * (rms > 1e-3 * rms.max())
        return rms.repeat_interleave(self.token_size)


class Store:
    """Trajectories on disk: `create`, `write` one batch, `missing`, `read`.

    Args:
        path: a folder, or an address that fsspec understands (s3://...).
    """

    def __init__(self, path: Path | str, group: zarr.Group) -> None:
        self.path, self.group = path, group

    @classmethod
    def create(
        cls,
        path: Path | str,
        sizes: Mapping[str, int],
        *,
        batch: int,
        about: Mapping[str, object],
    ) -> "Store":
        """A new empty store, or the one that is there if it was made with the same `about`.

        Args:
            sizes: length of every dimension.
            batch: tasks in a chunk.
            about: configuration, seed and the target's fingerprint; kept with the data.

        Raises:
            ArtifactError: there is something else at `path`, or it cannot be written to.
        """
        if _is_filled(path):
            store = cls.open(path)
            store.require(about)
            return store
        try:
            group = cls._empty(path, sizes, batch)
            group.attrs.update({"format": FORMAT, "batch": batch, **about})
        except OSError as error:
            raise ArtifactError(
                f"cannot make a store at {path} ({error}); choose a folder you may write to"
            ) from error
        return cls(path, group)

    @staticmethod
    def _empty(path: Path | str, sizes: Mapping[str, int], batch: int) -> zarr.Group:
        group = zarr.open_group(str(path), mode="a")
        for name, dims in DIMENSIONS.items():
            shape = tuple(sizes[d] for d in dims)
            dtype = {**DTYPES, **SMALL, "labels": "i2"}[name]
            fill = -1 if name == "labels" else 0
            group.create_array(
                name,
                shape=shape,
                chunks=(batch, *shape[1:]),
                dtype=dtype,
                dimension_names=dims,
                fill_value=fill,
            )
        n_batches = -(-sizes["task"] // batch)
        group.create_array(
            "mark", shape=(n_batches,), chunks=(1,), dtype="u4", dimension_names=("batch",)
        )
        return group

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """A store that is there.

        Raises:
            DataMissingError: nothing at `path`.
            ArtifactError: what is there is no store of trajectories, or lacks a part.
        """
        if "://" not in str(path) and not Path(path).exists():
            raise DataMissingError(
                f"no trajectories at {path}; run: python data_scripts/collect_trajectories.py"
            )
        try:
            group = zarr.open_group(str(path), mode="r+")
            lacking = {*DIMENSIONS, "mark"} - set(group.array_keys())
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"{path} is no readable store ({error})") from error
        if lacking or group.attrs.get("format") != FORMAT:
            raise ArtifactError(
                f"{path} is no whole store of trajectories: it lacks {sorted(lacking)} and has "
                f"format {group.attrs.get('format')!r}; remove it and collect again"
            )
        return cls(path, group)

    def require(self, about: Mapping[str, object]) -> None:
        """Raise ArtifactError unless the store was made with exactly this configuration."""
        for key, wanted in about.items():
            if (found := self.group.attrs.get(key)) != wanted:
                raise ArtifactError(
                    f"{self.path} was made with {key}={found!r}, not {wanted!r}; "
                    "choose another folder or the same configuration"
                )

    @property
    def missing(self) -> list[int]:
        """The batches that are not there yet."""
        return np.flatnonzero(self.group["mark"][:] == 0).tolist()

    def write(self, batch: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Write one batch, its mark last.

        Raises:
            ArtifactError: the store cannot be written to; what was whole before still is.
        """
        try:
            self.group["mark"][batch] = 0
            for name in DIMENSIONS:
                array = self.group[name]
                array[self._rows(batch)] = arrays[name].astype(array.dtype)
            self.group["mark"][batch] = self._checksum(batch)
        except OSError as error:
            raise ArtifactError(
                f"batch {batch} could not be written to {self.path} ({error}); the others are "
                "untouched: make room or give the right to write, then run again to resume"
            ) from error

    def damaged(self) -> list[int]:
        """Batches whose bytes differ from their mark, or cannot be read at all."""
        marks = self.group["mark"][:].tolist()
        return [b for b, mark in enumerate(marks) if mark and not self._agrees(b, mark)]

    def dataset(self) -> xr.Dataset:
        """The store as a lazy xarray table with named dimensions."""
        return xr.open_zarr(str(self.path), consolidated=False, chunks=None)

    def read(self) -> Trajectories:
        """All complete tasks that did not diverge, in memory.

        Raises:
            ArtifactError: no batch is complete, or one is damaged.
        """
        if broken := self.damaged():
            raise ArtifactError(
                f"{self.path}: batches {broken} are damaged; collect again with the same "
                "configuration, which makes them anew and keeps the others"
            )
        marks = self.group["mark"][:] != 0
        whole = np.repeat(marks, self.group.attrs["batch"])[: self._n_tasks]
        keep = np.flatnonzero(whole & ~self.group["diverged"][:])
        if not len(keep):
            raise ArtifactError(
                f"{self.path} holds no complete batch yet; collect some first"
            )

        def load(name: str) -> Tensor:
            return torch.from_numpy(self.group[name][:][keep])

        contexts = Context(load("features"), load("residual"), load("labels").long())
        return Trajectories(
            load("thetas"),
            load("losses"),
            contexts,
            load("domain").long(),
            tuple(self.group.attrs["domains"]),
            load("styled"),
            self.group.attrs["token_size"],
        )

    @property
    def _n_tasks(self) -> int:
        return self.group["domain"].shape[0]

    def _rows(self, batch: int) -> slice:
        size = self.group.attrs["batch"]
        return slice(batch * size, min((batch + 1) * size, self._n_tasks))

    def _checksum(self, batch: int) -> int:
        crc = 0
        for name in DIMENSIONS:
            part = self.group[name][self._rows(batch)]
            crc = zlib.crc32(np.ascontiguousarray(part).tobytes(), crc)
        return max(crc, 1)  # 0 means: not there

    def _agrees(self, batch: int, mark: int) -> bool:
        try:
            return self._checksum(batch) == mark
        except (OSError, ValueError, RuntimeError):  # a chunk that cannot be decoded
            return False


def _is_filled(path: Path | str) -> bool:
    return Path(path).is_dir() and any(Path(path).iterdir())
