"""Denoising diffusion on the same codes: the rival generator, as p-diff's."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..base import ConfigError, Progress, Velocity, silent
from .flow import FlowConfig, Points, Scaled, fit_field

LEVELS = 1_000  # of noise


def signal() -> Float[Tensor, " levels"]:
    """The share of the signal's variance at every level, prod (1 - beta), beta 1e-4 to 0.02.

    Source: Ho et al. 2020 (arXiv:2006.11239), section 4; p-diff (arXiv:2402.13144) takes it over.
    """
    return torch.cumprod(1 - torch.linspace(1e-4, 0.02, LEVELS), 0)


def noise_loss(
    field: Velocity, x: Points, noise: Points, level: Int64[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Squared error of the guess of the noise in sqrt(a) x + sqrt(1 - a) noise."""
    a = signal().to(x)[level, None]
    mixed = a.sqrt() * x + (1 - a).sqrt() * noise
    return (field(level / LEVELS, mixed) - noise).square().mean()


class Diffusion(Scaled):
    """A field that guesses the noise in scaled points."""

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator,
        steps: int = 100,
        context: Float[Tensor, "*rows c"] | None = None,
    ) -> Points:
        """Points from noise, which comes back at every level as DDPM's, over `steps` of the levels.

        p-diff takes all 1,000.

        Source: Song et al. 2021 (arXiv:2010.02502), equations 12 and 16.
        """
        if not 1 <= steps <= LEVELS:
            raise ConfigError(f"want 1 to {LEVELS} steps, got {steps}")
        size, guesser = (n, len(self.mean)), self.given(context)
        x = torch.randn(size, generator=generator).to(self.mean)
        levels = torch.linspace(LEVELS - 1, 0, steps).round().long()
        shares = torch.cat([signal()[levels], torch.ones(1)]).to(x)
        for level, now, after in zip(levels, shares[:-1], shares[1:], strict=True):
            guess = guesser((level / LEVELS).to(x), x)
            clean = (x - (1 - now).sqrt() * guess) / now.sqrt()
            back = ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
            along = (1 - after - back**2).clamp(min=0).sqrt()
            noise = torch.randn(size, generator=generator).to(x)
            x = after.sqrt() * clean + along * guess + back * noise
        return self.from_unit(x)


def fit_diffusion(
    x1: Points,
    config: FlowConfig,
    *,
    generator: torch.Generator,
    context: Float[Tensor, " n c"] | None = None,
    progress: Progress = silent,
) -> Diffusion:
    """Fit the guess of the noise to the points x1; prior and coupling do not matter.

    Args:
        context: of each point, what the guess depends on.
    """
    model = Diffusion.untrained(x1, config, context, generator)
    x = model.to_unit(x1)

    def loss(field: nn.Module, rows: Tensor) -> Tensor:
        each = None if context is None else context[rows]
        noise = torch.randn(len(rows), x.shape[1], generator=generator).to(x)
        level = torch.randint(LEVELS, (len(rows),), generator=generator).to(x.device)
        return noise_loss(lambda t, x: field(t, x, each), x[rows], noise, level)

    model.field = fit_field(model.field, loss, len(x1), config, generator, progress)
    return model
