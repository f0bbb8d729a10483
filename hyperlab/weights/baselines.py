"""Generators without learning: what a learned one has to beat.

Each takes the training networks (n x params; aligned, if that is wanted) and gives k new rows.

Source: Zeng et al. 2025 (arXiv:2506.07998) for noise, average (of 16) and Gaussian.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError
from ..models.cnn import Architecture
from .recipes import untrained
from .zoo import require_networks

Train, Drawn = Float[Tensor, " n params"], Float[Tensor, " k params"]


def copies(w: Train, k: int, generator: torch.Generator) -> Drawn:
    """Training networks themselves, drawn at random."""
    require_networks(w, "training")
    return w[torch.randint(len(w), (k,), generator=generator)]


def noisy(w: Train, k: int, generator: torch.Generator, *, sigma: float) -> Drawn:
    """Copies plus normal noise: on every weight `sigma` times its own deviation over networks.

    The deviation over networks, not the size of the weights, tells what is near in a single
    run as well as among many seeds.
    """
    scale = _deviations(w).norm(dim=0)
    return copies(w, k, generator) + sigma * scale * _normal(w, k, w.shape[1], generator)


def averages(w: Train, k: int, generator: torch.Generator, *, of: int) -> Drawn:
    """Means of `of` different training networks."""
    require_networks(w, "training")
    if len(w) == 1:
        raise ConfigError("the average of one network is a copy; want two or more")
    if len(w) <= of:
        raise ConfigError(
            f"averages of {of} of {len(w)} networks are all one network, the mean; want more "
            "networks or leave them out"
        )
    rows = torch.rand(k, len(w), generator=generator).argsort(1)[:, :of]
    return w[rows].mean(1)


def gaussian(w: Train, k: int, generator: torch.Generator) -> Drawn:
    """Every weight by itself from a normal of the training networks' mean and deviation."""
    scale = _deviations(w).norm(dim=0)
    return w.mean(0) + scale * _normal(w, k, w.shape[1], generator)


def pca_gaussian(w: Train, k: int, generator: torch.Generator) -> Drawn:
    """A normal with the training networks' mean and covariance, all components kept.

    x = mean + D^T noise, where D^T D is the covariance: x stays in the span of the networks.
    """
    return w.mean(0) + _normal(w, k, len(w), generator) @ _deviations(w)


def kernel(w: Train, k: int, generator: torch.Generator, *, bandwidth: float) -> Drawn:
    """Copies plus normal noise of `bandwidth` on PCA scores of deviation 1.

    Source: a kernel density, as SANE samples (Schuerholt et al. 2024, arXiv:2406.09997); there
    in the latent space of an encoder.
    """
    noise = _normal(w, k, len(w), generator) @ _deviations(w)
    return copies(w, k, generator) + bandwidth * noise


@dataclass(frozen=True)
class RandomInit:
    """Networks before any training, by Kaiming's uniform rule; looks at no training network."""

    architecture: Architecture

    def __call__(self, w: Train, k: int, generator: torch.Generator) -> Drawn:
        self.architecture.unflatten(w[:0])
        draw = partial(untrained, self.architecture, "kaiming_uniform", generator)
        return torch.stack([draw() for _ in range(k)]).to(w)


def _deviations(w: Tensor) -> Tensor:
    """D, with D^T D the sample covariance; its columns' norms are the deviations."""
    require_networks(w, "training")
    if (w == w[0]).all():
        raise ConfigError(
            f"{len(w)} training networks that do not differ have no deviation to make noise of, "
            "so this would be a copy; want two or more different ones"
        )
    return (w - w.mean(0)) / max(1, len(w) - 1) ** 0.5


def _normal(w: Tensor, k: int, dim: int, generator: torch.Generator) -> Tensor:
    return torch.randn(k, dim, generator=generator).to(w)


BASELINES = MappingProxyType(  # without RandomInit, which needs the architecture
    {
        "copy": copies,
        "copy + noise 0.1": partial(noisy, sigma=0.1),
        "copy + noise 0.3": partial(noisy, sigma=0.3),
        "copy + noise 1": partial(noisy, sigma=1.0),
        "average of 2": partial(averages, of=2),
        "average of 16": partial(averages, of=16),
        "Gaussian": gaussian,
        "PCA-Gaussian": pca_gaussian,
        "kernel density 0.2": partial(kernel, bandwidth=0.2),
    }
)


def possible(n: int) -> dict[str, Callable[..., Tensor]]:
    """The baselines by name, without averages of as many as the `n` networks or more."""
    of = {name: getattr(f, "keywords", {}).get("of", 0) for name, f in BASELINES.items()}
    return {name: f for name, f in BASELINES.items() if of[name] < n}
