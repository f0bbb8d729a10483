"""Where a flow starts: random codes, or the codes of networks that nobody trained."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError, choose
from ..models.cnn import Architecture
from .encoders import Encoder

Prior = Callable[[int, int, torch.Generator], Tensor]  # (n, dim, stream) -> n x dim


def normal(n: int, dim: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
    """Standard normal points."""
    return torch.randn(n, dim, generator=generator)


def kaiming_normal(n: int, dim: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
    """Normal with variance 2 / dim: Kaiming's for a map that reads the whole code.

    So does torch's `kaiming_normal_` on n codes of 4 x h x w: each counts as one output.

    Source: FLoWN, arXiv:2503.19371, table 10 says "Kaiming"; of which fan it does not say.
    """
    return normal(n, dim, generator) * (2 / dim) ** 0.5


def kaiming_uniform(
    n: int, dim: int, generator: torch.Generator
) -> Float[Tensor, " n dim"]:
    """Uniform between -b and b, b = sqrt(6 / dim): the same variance."""
    return (2 * torch.rand(n, dim, generator=generator) - 1) * (6 / dim) ** 0.5


PRIORS = MappingProxyType(
    {"normal": normal, "kaiming_normal": kaiming_normal, "kaiming_uniform": kaiming_uniform}
)


@dataclass(frozen=True, eq=False)
class Untrained:
    """A prior in weight space: fresh networks, through the encoder if there is one.

    Layer by layer: weights by Kaiming's rule, biases uniform within 1 / sqrt(fan_in), as torch's.

    Source: FLoWN, arXiv:2503.19371, section A.4.2, compares its source with N(0, I).
    """

    architecture: Architecture
    encoder: Encoder | None = None
    init: str = "kaiming_uniform"  # of the weights, see PRIORS

    @torch.no_grad()
    def __call__(
        self, n: int, dim: int, generator: torch.Generator
    ) -> Float[Tensor, " n dim"]:
        draw, parts = choose(PRIORS, self.init), []
        for layer in self.architecture.layers:
            fan_in = layer.n_params // layer.n_out - 1
            weights = draw(n * layer.n_out, fan_in, generator).view(n, -1)
            u = torch.rand(n, layer.n_out, generator=generator)
            parts += [weights, (2 * u - 1) / fan_in**0.5]
        w = torch.cat(parts, 1)
        x0 = self.encoder.encode(w.to(self.encoder.mean)) if self.encoder else w
        if x0.shape[1] != dim:
            raise ConfigError(f"want points of {dim} numbers, this prior has {x0.shape[1]}")
        return x0
