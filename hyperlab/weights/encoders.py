"""Networks as short vectors and back: principal components, variational autoencoder.

Every encoder standardises each weight over the networks that it was fitted to. What it loses is the
ceiling of all that is generated through it: `ceiling` says how much.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ConfigError, Progress, choose, silent
from ..models.cnn import Network
from ..nn import Descent, fit, lent
from .zoo import accuracies, require_networks

Rows, Codes = Float[Tensor, " n params"], Float[Tensor, " n latent"]
Behaviour = Callable[[Tensor, Tensor], Tensor]  # (rows decoded, rows) -> a loss


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How an autoencoder is built and trained; latent and the noises are FLoWN's, the rest is ours.

    Its beta of 1e-2 weighs a KL against a sum over the weights; here that is a mean, so that the
    two cannot be compared. Its autoencoder is D2NWG's, convolutions on a map of 64 x 64.
    """

    latent: int = 64  # numbers of a chunk's code
    chunk: int = 0  # weights of a chunk; 0: the whole network is one
    width: int = 512  # of the hidden layers
    beta: float = 1e-4  # weight of the KL divergence
    noise_in: float = 1e-3  # standard deviation added to standardised weights
    noise_latent: float = 0.5  # added to the code; absolute, whatever the codes' spread
    steps: int = 2_000  # gradient steps of AdamW
    batch: int = 64  # networks a step
    lr: float = 1e-3  # peak, cosine

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.steps, self.batch) < 1 or self.chunk < 0:
            raise ConfigError(f"latent, width, steps, batch >= 1 and chunk >= 0: {self}")

    @classmethod
    def at(cls, scale: str) -> "EncoderConfig":
        """Presets for the whole row; "paper" is the largest, not FLoWN's table 6.

        The KL is summed over chunks: many of them want less beta.
        """
        small = cls(width=256, steps=300, batch=32)
        return choose({"smoke": small, "laptop": cls(), "paper": cls(steps=30_000)}, scale)


class Encoder(nn.Module):
    """Standardises rows: its codes are the standardised weights, unless a kind says otherwise.

    Args:
        w: the networks that it is fitted to.
    """

    latent: int
    mean: Tensor
    std: Tensor

    def __init__(self, w: Rows) -> None:
        super().__init__()
        require_networks(w, "training")
        std = w.std(0, correction=0)
        self.register_buffer("mean", w.mean(0))
        self.register_buffer("std", std.clamp(min=1e-3 * float(std.max()) + 1e-8))
        self.latent = w.shape[1]

    def encode(self, w: Rows) -> Codes:
        """The codes of some networks."""
        if w.shape[1] != len(self.mean):
            raise ConfigError(
                f"this encoder is for networks of {len(self.mean)} weights, got {w.shape[1]}"
            )
        require_networks(w, "encoded", least=0)
        return self.shorten((w - self.mean) / self.std)

    def decode(self, z: Codes) -> Rows:
        """The networks that some codes stand for."""
        if z.shape[1] != self.latent:
            raise ConfigError(
                f"this encoder has codes of {self.latent} numbers, got {z.shape[1]}"
            )
        return self.mean + self.std * self.lengthen(z)

    def shorten(self, x: Rows) -> Codes:
        """Standardised rows -> codes."""
        return x

    def lengthen(self, z: Codes) -> Rows:
        """Codes -> standardised rows."""
        return z


class PCA(Encoder):
    """The scores of the first principal components; of n networks there are n - 1.

    z = V^T x with the right singular vectors V of the standardised rows.
    """

    directions: Tensor

    def __init__(self, w: Rows, latent: int) -> None:
        super().__init__(w)
        if not 1 <= latent < len(w):
            raise ConfigError(
                f"{len(w)} networks have 1 to {len(w) - 1} components: {latent}"
            )
        _, _, v = torch.linalg.svd((w - self.mean) / self.std, full_matrices=False)
        self.latent = latent
        self.register_buffer("directions", v[:latent])

    def shorten(self, x: Tensor) -> Tensor:
        return x @ self.directions.T

    def lengthen(self, z: Tensor) -> Tensor:
        return z @ self.directions


class Residual(nn.Module):
    """x + f(x), f two layers behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.f = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class Reader(nn.Module):
    """The chunks of standardised rows -> mean and logarithm of the variance of their codes."""

    def __init__(self, config: "EncoderConfig", size: int, chunks: int) -> None:
        super().__init__()
        self.into = nn.Linear(size, config.width)
        self.place = nn.Parameter(torch.zeros(chunks, config.width))
        self.down = nn.Sequential(
            Residual(config.width), nn.Linear(config.width, 2 * config.latent)
        )

    def forward(self, parts: Float[Tensor, " n chunks size"]) -> Tensor:
        return self.down(self.into(parts) + self.place)


class VAE(Encoder):
    """Chunks of the row, each through the same small network, which is told the chunk's place.

    The row is filled up with zeros to a multiple of the chunk. encode gives the mean of q(z | w).

    Source: FLoWN, arXiv:2503.19371, sections 2.2 and A.2.1; its vectorisations are the whole
    row (here one chunk) and layer-wise chunks.
    """

    def __init__(self, w: Rows, config: EncoderConfig) -> None:
        super().__init__(w)
        self.config = config
        size = config.chunk or w.shape[1]
        self.chunks = -(-w.shape[1] // size)
        self.padding = self.chunks * size - w.shape[1]
        self.latent = self.chunks * config.latent
        width = config.width
        self.reader = self.make_reader(w, size)
        self.code, self.out = nn.Linear(config.latent, width), nn.Linear(width, size)
        self.place = nn.Parameter(torch.zeros(self.chunks, width))
        self.up = nn.Sequential(Residual(width), nn.SiLU())

    def make_reader(self, w: Rows, size: int) -> nn.Module:
        """What `read` asks; of the networks w only other kinds want to know."""
        return Reader(self.config, size, self.chunks)

    def read(self, x: Rows) -> Float[Tensor, " n chunks doubled"]:
        """Standardised rows -> mean and logarithm of the variance, side by side."""
        return self.reader(F.pad(x, (0, self.padding)).unflatten(1, (self.chunks, -1)))

    def posterior(self, x: Rows) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z | w), n x chunks x latent each."""
        mean, log_var = self.read(x).chunk(2, -1)
        return mean, log_var.clamp(-12, 4)

    def shorten(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0].flatten(1)

    def lengthen(self, z: Tensor) -> Tensor:
        codes = z.unflatten(1, (self.chunks, -1))
        rows = self.out(self.up(self.code(codes) + self.place)).flatten(1)
        return rows[:, : len(self.mean)]


def vae_loss(
    vae: VAE, x: Rows, noise: tuple[Rows, Codes]
) -> tuple[Float[Tensor, ""], Rows]:
    """|x - g(z)|^2 / d + beta KL(q(z | x) || N(0, I)), and the rows g(z).

    The error is a mean over the d weights, the KL a sum over the numbers of the code.

    z is drawn from q(z | x + noise) and gets noise of its own. The KL has a plus: the minus of the
    paper's equation 2 is a misprint. (p-diff blends the noise in instead of adding it.)

    Args:
        noise: standard normal, for the rows and for the codes.
    """
    config = vae.config
    mean, log_var = vae.posterior(x + config.noise_in * noise[0])
    spread = (log_var.exp() + config.noise_latent**2).sqrt()  # both noises are normal
    z = mean + spread * noise[1].unflatten(1, (vae.chunks, -1))
    rows = vae.lengthen(z.flatten(1))
    kl = (mean.square() + log_var.exp() - 1 - log_var).sum((1, 2)).mean() / 2
    return (rows - x).square().mean() + config.beta * kl, rows


def fit_vae(
    w: Rows,
    config: EncoderConfig,
    *,
    kind: Callable[[Rows, EncoderConfig], VAE] = VAE,
    behave: Behaviour | None = None,
    generator: torch.Generator,
    progress: Progress = silent,
) -> VAE:
    """Train an autoencoder of networks, on the device and in the precision of their rows.

    Args:
        behave: added to the loss, e.g. `behaviour(...)`: what rows do matters, not only where
            they are (Meynent et al. 2025, arXiv:2503.17138).
    """
    with lent(generator):
        vae = kind(w, config).to(w)
    x, sizes = (w - vae.mean) / vae.std, (w.shape[1], vae.latent)

    def loss() -> Tensor:
        rows = torch.randint(len(w), (min(config.batch, len(w)),), generator=generator)
        noise = tuple(torch.randn(len(rows), n, generator=generator).to(w) for n in sizes)
        error, decoded = vae_loss(vae, x[rows], noise)
        return error + (behave(vae.mean + vae.std * decoded, w[rows]) if behave else 0)

    descent = Descent(
        steps=config.steps, lr=config.lr, warmup=50, weight_decay=2e-6, fused=True
    )
    fit(vae, loss, descent, desc="autoencoder", progress=progress)
    return vae.requires_grad_(requires_grad=False)


def behaviour(
    architecture: Network,
    images: Float[Tensor, " n c h w"],
    *,
    weight: float = 0.1,
    queries: int = 64,
    generator: torch.Generator,
) -> Behaviour:
    """Squared error of a decoded network's logits on some random images, times `weight`.

    Source: Meynent et al. 2025, arXiv:2503.17138, section 3, the L2 variant.
    """

    def loss(decoded: Tensor, rows: Tensor) -> Tensor:
        batch = images[torch.randint(len(images), (queries,), generator=generator)]
        with torch.no_grad():
            wanted = architecture.logits(rows, batch)
        return weight * (architecture.logits(decoded, batch) - wanted).square().mean()

    return loss


@dataclass(frozen=True, eq=False)
class Ceiling:
    """Accuracy of every network before and after its way through an encoder."""

    before: Float[Tensor, " n"]
    after: Float[Tensor, " n"]

    @property
    def drop(self) -> float:
        """The median loss of accuracy, in points."""
        return 100 * float((self.before - self.after).median())


@torch.no_grad()
def ceiling(
    architecture: Network,
    encoder: Encoder,
    w: Rows,
    data: tuple[Tensor, Tensor],
) -> Ceiling:
    """What an encoder keeps of some networks: nothing that is generated through it does better."""
    decoded = encoder.decode(encoder.encode(w))
    return Ceiling(*(accuracies(architecture, rows, *data) for rows in (w, decoded)))
