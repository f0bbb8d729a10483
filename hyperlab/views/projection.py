"""Pictures of parameter space: a linear plane for arrows, UMAP for points and whole curves.

A plane is exact for points, curves and arrows alike, and says how much of each it shows. UMAP
keeps neighbours and nothing else: lengths, angles and straightness are not read from it.
"""

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache as once
from importlib.metadata import version
from math import prod
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..base import ConfigError, expanded, whole_file


@dataclass(frozen=True, eq=False)
class Plane:
    """An affine map onto a few orthonormal axes.

    Args:
        origin: the point drawn at 0.
        axes: orthonormal rows.
    """

    origin: Float[Tensor, " dim"]
    axes: Float[Tensor, " k dim"]

    @classmethod
    def fit(
        cls,
        points: Float[Tensor, "*batch dim"],
        k: int = 2,
        *,
        origin: Float[Tensor, " dim"] | None = None,
    ) -> "Plane":
        """Principal components: the k directions along which the points vary most.

        Args:
            origin: where variation is measured from, e.g. theta0; by default the mean.
                Each axis points so that its largest number is positive.

        Raises:
            ConfigError: fewer than k + 1 points, or numbers that are not finite.
        """
        points = points.flatten(0, -2)
        if len(points) <= k or not points.isfinite().all():
            raise ConfigError(
                f"{k} axes need at least {k + 1} finite points, got {len(points)}"
            )
        origin = points.mean(0) if origin is None else origin
        axes = _principal_axes((points - origin).double(), k)
        return cls(origin, axes.to(points))

    def to_plane(self, points: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch k"]:
        """Coordinates of the nearest points of the plane."""
        return self.arrows(points) - self.axes @ self.origin

    def arrows(self, velocity: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch k"]:
        """Vectors as they appear in the plane."""
        if velocity.shape[-1] != self.axes.shape[1]:
            raise ConfigError(
                f"vectors of {velocity.shape[-1]} numbers do not fit a plane in "
                f"{self.axes.shape[1]} dimensions"
            )
        return velocity @ self.axes.T

    def share(self, velocity: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
        """The length that the plane shows of each vector, as a share of its whole length.

        A random direction of d dimensions shows about sqrt(k / d).
        """
        length = velocity.norm(dim=-1)
        return self.arrows(velocity).norm(dim=-1) / length.clamp(min=1e-30)

    def variance(self, points: Float[Tensor, "*batch dim"]) -> float:
        """The share of the points' squared distance from the origin that the plane shows."""
        shown = self.to_plane(points).square().sum()
        return float(shown / (points - self.origin).square().sum().clamp(min=1e-30))


def _principal_axes(centred: Tensor, k: int) -> Tensor:
    # The smaller of the two Gram matrices has the same spectrum.
    tall = len(centred) > centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T
    vectors = torch.linalg.eigh(gram).eigenvectors[:, -k:].flip(1)
    axes = vectors if tall else centred.T @ vectors
    axes = axes / axes.norm(dim=0).clamp(min=1e-30)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return (axes * largest.sign()).T


@dataclass(frozen=True, kw_only=True)
class UmapConfig:
    """How points are embedded."""

    n_neighbors: int = 15  # how local the picture is
    min_dist: float = 0.1  # how tightly points may be packed
    n_components: int = 50  # principal components that UMAP sees
    seed: int = 0  # what changes with it is no finding


@dataclass(frozen=True, eq=False)
class Embedding:
    """Named points and curves in one UMAP picture.

    Args:
        plane: the principal components that UMAP saw.
        high: all points in these components.
        low: all points in the picture.
        shapes: name -> leading shape of the array that was given.
    """

    plane: Plane
    high: Float[Tensor, " n k"]
    low: Float[Tensor, " n 2"]
    shapes: Mapping[str, tuple[int, ...]]

    def __getitem__(self, name: str) -> Float[Tensor, "... 2"]:
        """The picture of one array, with its leading shape."""
        return self.low[self.rows(name)].unflatten(0, self.shapes[name])

    def rows(self, name: str) -> slice:
        """Where the points of one array stand among all."""
        if name not in self.shapes:
            raise ConfigError(
                f"nothing named {name!r} was embedded; have {list(self.shapes)}"
            )
        names = list(self.shapes)
        first = sum(prod(self.shapes[n]) for n in names[: names.index(name)])
        return slice(first, first + prod(self.shapes[name]))

    def trustworthiness(
        self, rows: Int[Tensor, " m"] | None = None, *, n_neighbors: int = 10
    ) -> float:
        """How far the neighbours in the picture are neighbours in truth: 1 is perfect.

        Points of one curve are each other's neighbours, which is easy; pass the rows of one
        point of every curve for the harder question.

        Raises:
            ConfigError: fewer than 2 n_neighbors + 1 points.

        Source: Venna and Kaski 2001, as in scikit-learn.
        """
        from sklearn import manifold  # loads scipy's statistics: not before it is asked

        rows = torch.arange(len(self.low)) if rows is None else rows
        if len(rows) <= 2 * n_neighbors:
            raise ConfigError(
                f"{n_neighbors} neighbours need more than {2 * n_neighbors} points, "
                f"got {len(rows)}"
            )
        high, low = self.high[rows].numpy(), self.low[rows].numpy()
        return float(manifold.trustworthiness(high, low, n_neighbors=n_neighbors))


def embed(
    arrays: Mapping[str, Float[Tensor, "... dim"]],
    config: UmapConfig | None = None,
    *,
    cache: Path | str | None = None,
) -> Embedding:
    """Embed points and whole curves together: nothing is put into a finished picture later.

    Args:
        arrays: name -> points; leading axes are kept, e.g. curves x knots.
        cache: a folder that keeps each picture under a name made of points and configuration.

    Raises:
        ConfigError: no more points than neighbours, or numbers that are not finite.

    Source: McInnes, Healy and Melville 2018 (UMAP), arXiv:1802.03426.
    """
    config = config or UmapConfig()
    points = torch.cat([array.reshape(-1, array.shape[-1]) for array in arrays.values()])
    if len(points) <= config.n_neighbors + 1:
        raise ConfigError(
            f"{len(points)} points are too few for {config.n_neighbors} neighbours"
        )
    k = min(config.n_components, len(points) - 1, points.shape[1])
    plane = Plane.fit(points, k)
    high = plane.to_plane(points)
    low = torch.from_numpy(_cached_umap(high.numpy(), config, cache))
    shapes = {name: tuple(array.shape[:-1]) for name, array in arrays.items()}
    return Embedding(plane, high, low, shapes)


def _cached_umap(
    high: np.ndarray, config: UmapConfig, cache: Path | str | None
) -> np.ndarray:
    if cache is None:
        return _umap(high, config)
    settings = json.dumps([asdict(config), version("umap-learn")]).encode()
    key = hashlib.sha256(settings + np.float32(high.round(4)).tobytes()).hexdigest()
    path = expanded(Path(cache)) / f"umap-{key[:16]}.npz"
    if not path.exists():
        low = _umap(high, config)
        with whole_file(path) as draft, draft.open("wb") as file:
            np.savez(file, low=low, config=json.dumps(asdict(config)))
    with np.load(path) as kept:
        return kept["low"]


def _find_cache() -> None:
    """A temporary folder for compiled functions, where numba finds none that it can write to.

    umap cannot be imported there otherwise: numba raises for every function that is to be kept.
    """
    import numba

    place = importlib.util.find_spec("umap").origin
    names: dict[str, Callable[[], None]] = {}
    exec(compile("def probe(): pass", place, "exec"), names)  # of umap's own file
    try:
        numba.njit(cache=True)(names["probe"])
    except RuntimeError:
        folder = tempfile.mkdtemp(prefix="hyperlab_numba_")
        os.environ["NUMBA_CACHE_DIR"] = folder  # numba reads it again and again
        numba.config.reload_config()


@once
def _compiled_once() -> ModuleType:
    """umap, whose compiled functions numba keeps on disk: 0.6 s instead of 13 in a new kernel."""
    _find_cache()
    import umap  # here, for it takes two seconds
    from numba.core.dispatcher import Dispatcher

    for function in (*vars(umap.umap_).values(), *vars(umap.layouts).values()):
        if isinstance(function, Dispatcher):
            with suppress(RuntimeError):  # no folder to write to: it compiles, as ever
                function.enable_caching()
    return umap


def _umap(high: np.ndarray, config: UmapConfig) -> np.ndarray:
    mapper = _compiled_once().UMAP(
        n_neighbors=config.n_neighbors,
        min_dist=config.min_dist,
        random_state=config.seed,
        n_jobs=1,
    )
    threads = torch.get_num_threads()
    low = mapper.fit_transform(high)
    torch.set_num_threads(threads)  # numba has set torch's number, too
    return np.asarray(low, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class TangentArrows:
    """Directions in a UMAP picture, and how much of each velocity they cannot show.

    Args:
        tails: where the arrows stand.
        directions: of length 1; lengths mean nothing here.
        residual: |v - J u| / |v|, from 0 (all shown) to 1 (nothing of it).
    """

    tails: Float[Tensor, " n 2"]
    directions: Float[Tensor, " n 2"]
    residual: Float[Tensor, " n"]

    def opacity(self, *, most: float = 0.7) -> Float[Tensor, " n"]:
        """1 - residual, and 0 (not drawn) for residuals above `most`."""
        return (1 - self.residual) * (self.residual <= most)


def tangent_arrows(
    embedding: Embedding,
    rows: Int[Tensor, " n"],
    velocity: Float[Tensor, " n dim"],
    *,
    n_neighbors: int = 15,
) -> TangentArrows:
    """Velocities at embedded points, through the picture's best linear map there.

    Around each point, x_j - x = J (z_j - z) by least squares over its neighbours; the arrow u
    minimises |v - J u|. What remains, with what the principal components miss, is the residual.

    Args:
        rows: which embedded points.
        velocity: of each, in the full space.
    """
    shown = embedding.plane.arrows(velocity)
    length = velocity.norm(dim=1).clamp(min=1e-30)
    high, low = embedding.high, embedding.low
    near = torch.cdist(high[rows], high).argsort(1)[:, 1 : n_neighbors + 1]
    around_x = high[near] - high[rows][:, None]
    around_z = low[near] - low[rows][:, None]
    jacobian = torch.linalg.pinv(around_z) @ around_x  # n x 2 x k: x = z @ jacobian
    u = (shown[:, None] @ torch.linalg.pinv(jacobian))[:, 0]
    left = (shown - (u[:, None] @ jacobian)[:, 0]).square().sum(1)
    missed = (length.square() - shown.square().sum(1)).clamp(min=0)
    residual = ((left + missed).sqrt() / length).clamp(max=1)
    return TangentArrows(low[rows], torch.nn.functional.normalize(u, dim=1), residual)


def random_like(
    velocity: Float[Tensor, " n dim"], *, generator: torch.Generator
) -> Float[Tensor, " n dim"]:
    """Random directions with the lengths, and the usual size of each number, of `velocity`.

    The control for any picture of a field: what looks like a finding here is none.

    Raises:
        ConfigError: fewer than two numbers vary: there is no other direction.
    """
    if int((velocity != 0).any(0).sum()) < 2:
        raise ConfigError(
            f"vectors of which {int((velocity != 0).any(0).sum())} numbers are not 0 have no "
            "random direction of the same kind; want two or more"
        )
    noise = torch.randn(velocity.shape, generator=generator).to(velocity)
    noise = noise * velocity.square().mean(0).sqrt()
    lengths = velocity.norm(dim=1) / noise.norm(dim=1).clamp(min=1e-30)
    return noise * lengths[:, None]
