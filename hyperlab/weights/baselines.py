"""Generators without learning: what a learned one has to beat.

Each takes the training networks (n x params; aligned, if that is wanted) and gives k new rows.

Source: Zeng et al. 2025 (arXiv:2506.07998), section 4, for noise, average and Gaussian.
"""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

Generator = Callable[[Tensor, int, torch.Generator], Tensor]  # (w, k, stream) -> k x params


def copies(
    w: Float[Tensor, " n params"], k: int, generator: torch.Generator
) -> Float[Tensor, " k params"]:
    """Training networks themselves, drawn at random."""
    return w[torch.randint(len(w), (k,), generator=generator)]


def noisy(
    w: Float[Tensor, " n params"], k: int, generator: torch.Generator, *, sigma: float
) -> Float[Tensor, " k params"]:
    """Copies plus normal noise, `sigma` times the root mean square of all weights."""
    noise = torch.randn(k, w.shape[1], generator=generator).to(w)
    return copies(w, k, generator) + sigma * w.square().mean().sqrt() * noise


def averages(
    w: Float[Tensor, " n params"], k: int, generator: torch.Generator, *, of: int
) -> Float[Tensor, " k params"]:
    """Means of `of` different training networks; of all, if there are fewer."""
    rows = torch.rand(k, len(w), generator=generator).argsort(1)[:, :of]
    return w[rows].mean(1)


def gaussian(
    w: Float[Tensor, " n params"], k: int, generator: torch.Generator
) -> Float[Tensor, " k params"]:
    """Every weight by itself from a normal of the training networks' mean and deviation."""
    noise = torch.randn(k, w.shape[1], generator=generator).to(w)
    return w.mean(0) + w.std(0, correction=0) * noise


def pca_gaussian(
    w: Float[Tensor, " n params"], k: int, generator: torch.Generator
) -> Float[Tensor, " k params"]:
    """A normal with the training networks' mean and covariance.

    (w - mean)^T noise / sqrt(n) has that covariance; it stays in the span of the networks.
    """
    noise = torch.randn(k, len(w), generator=generator).to(w)
    return w.mean(0) + noise @ (w - w.mean(0)) / len(w) ** 0.5


def kernel(
    w: Float[Tensor, " n params"], k: int, generator: torch.Generator, *, bandwidth: float
) -> Float[Tensor, " k params"]:
    """A training network plus `bandwidth` times a draw of the covariance's normal.

    Source: a kernel density, as SANE samples (Schuerholt et al. 2024, arXiv:2406.09997).
    """
    around = pca_gaussian(w, k, generator) - w.mean(0)
    return copies(w, k, generator) + bandwidth * around


BASELINES = MappingProxyType(
    {
        "copy": copies,
        "copy + noise 0.1": partial(noisy, sigma=0.1),
        "copy + noise 0.3": partial(noisy, sigma=0.3),
        "average of 2": partial(averages, of=2),
        "average of 16": partial(averages, of=16),
        "Gaussian": gaussian,
        "PCA-Gaussian": pca_gaussian,
        "kernel density 0.2": partial(kernel, bandwidth=0.2),
    }
)
