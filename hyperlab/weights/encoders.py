"""Networks as short vectors and back: identity, principal components, variational autoencoder.

Every encoder standardises each weight over the networks that it was fitted to. What it loses is the
ceiling of all that is generated through it: `ceiling` says how much.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import (
    ArtifactError,
    ConfigError,
    DataMissingError,
    Progress,
    choose,
    silent,
    whole_file,
)
from ..models.cnn import Architecture
from ..nn import cosine_warmup, lent
from .zoo import accuracies

Behaviour = Callable[[Tensor, Tensor], Tensor]  # (rows decoded, rows) -> a loss


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """How an autoencoder is built and trained; the noises are the paper's."""

    latent: int = 64  # numbers of a chunk's code
    chunk: int = 0  # weights of a chunk; 0: the whole network is one
    width: int = 512  # of the hidden layers
    beta: float = 1e-4  # weight of the KL divergence
    noise_in: float = 1e-3  # standard deviation added to standardised weights
    noise_latent: float = 0.5  # added to the code, in units of its standard deviation
    steps: int = 2_000  # gradient steps of AdamW
    batch: int = 64  # networks a step
    lr: float = 1e-3  # peak, cosine

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.steps, self.batch) < 1 or self.chunk < 0:
            raise ConfigError(f"latent, width, steps, batch >= 1 and chunk >= 0: {self}")

    @classmethod
    def at(cls, scale: str) -> "EncoderConfig":
        """Presets for the whole row. The KL is summed over chunks: many of them want less beta."""
        small = cls(width=256, steps=300, batch=32)
        return choose({"smoke": small, "laptop": cls(), "paper": cls(steps=30_000)}, scale)


class Encoder(nn.Module):
    """Standardises rows; a kind says how they become codes.

    Args:
        w: the networks that it is fitted to.

    Raises:
        ConfigError: there are none, or a weight is not finite.
    """

    latent: int
    mean: Tensor
    std: Tensor

    def __init__(self, w: Float[Tensor, " n params"]) -> None:
        super().__init__()
        if not len(w) or not w.isfinite().all():
            raise ConfigError(
                f"want one or more networks with finite weights, got {w.shape}"
            )
        std = w.std(0, correction=0)
        self.register_buffer("mean", w.mean(0))
        self.register_buffer("std", std.clamp(min=1e-3 * float(std.max()) + 1e-8))

    def encode(self, w: Float[Tensor, " n params"]) -> Float[Tensor, " n latent"]:
        """The codes of some networks.

        Raises:
            ConfigError: rows of another length, or a weight is not finite.
        """
        if w.shape[1] != len(self.mean):
            raise ConfigError(
                f"this encoder is for networks of {len(self.mean)} weights, got {w.shape[1]}"
            )
        if not (finite := w.isfinite().all(1)).all():
            rows = (~finite).nonzero().flatten().tolist()
            raise ConfigError(
                f"networks {rows} have weights that are not finite; drop them"
            )
        return self.shorten((w - self.mean) / self.std)

    def decode(self, z: Float[Tensor, " n latent"]) -> Float[Tensor, " n params"]:
        """The networks that some codes stand for.

        Raises:
            ConfigError: codes of another length.
        """
        if z.shape[1] != self.latent:
            raise ConfigError(
                f"this encoder has codes of {self.latent} numbers, got {z.shape[1]}"
            )
        return self.mean + self.std * self.lengthen(z)

    def shorten(self, x: Float[Tensor, " n params"]) -> Float[Tensor, " n latent"]:
        """Standardised rows -> codes."""
        raise NotImplementedError

    def lengthen(self, z: Float[Tensor, " n latent"]) -> Float[Tensor, " n params"]:
        """Codes -> standardised rows."""
        raise NotImplementedError


class Identity(Encoder):
    """The standardised weights themselves."""

    def __init__(self, w: Float[Tensor, " n params"]) -> None:
        super().__init__(w)
        self.latent = w.shape[1]

    def shorten(self, x: Tensor) -> Tensor:
        return x

    def lengthen(self, z: Tensor) -> Tensor:
        return z


class PCA(Encoder):
    """The scores of the first principal components; of n networks there are n - 1.

    z = V^T x with the right singular vectors V of the standardised rows.
    """

    directions: Tensor

    def __init__(self, w: Float[Tensor, " n params"], latent: int) -> None:
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


class VAE(Encoder):
    """Chunks of the row, each through the same small network, which is told the chunk's place.

    The row is filled up with zeros to a multiple of the chunk. encode gives the mean of q(z | w).

    Source: FLoWN, arXiv:2503.19371, section 3 and appendix A.2; its vectorisations are the whole
    row (here one chunk) and layer-wise chunks.
    """

    def __init__(self, w: Float[Tensor, " n params"], config: EncoderConfig) -> None:
        super().__init__(w)
        self.config = config
        size = config.chunk or w.shape[1]
        self.chunks = -(-w.shape[1] // size)
        self.padding = self.chunks * size - w.shape[1]
        self.latent = self.chunks * config.latent
        width = config.width
        self.into, self.out = nn.Linear(size, width), nn.Linear(width, size)
        self.place_in = nn.Parameter(torch.zeros(self.chunks, width))
        self.place_out = nn.Parameter(torch.zeros(self.chunks, width))
        self.down = nn.Sequential(Residual(width), nn.Linear(width, 2 * config.latent))
        self.up = nn.Sequential(Residual(width), nn.SiLU())
        self.code = nn.Linear(config.latent, width)

    def posterior(self, x: Float[Tensor, " n params"]) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of q(z | w), n x chunks x latent each."""
        parts = F.pad(x, (0, self.padding)).unflatten(1, (self.chunks, -1))
        mean, log_var = self.down(self.into(parts) + self.place_in).chunk(2, -1)
        return mean, log_var.clamp(-12, 4)

    def shorten(self, x: Tensor) -> Tensor:
        return self.posterior(x)[0].flatten(1)

    def lengthen(self, z: Tensor) -> Tensor:
        codes = z.unflatten(1, (self.chunks, -1))
        rows = self.out(self.up(self.code(codes) + self.place_out)).flatten(1)
        return rows[:, : len(self.mean)]


def vae_loss(
    vae: VAE,
    x: Float[Tensor, " n params"],
    noise: tuple[Float[Tensor, " n params"], Float[Tensor, " n latent"]],
) -> tuple[Float[Tensor, ""], Float[Tensor, " n params"]]:
    """|x - g(z)|^2 + beta KL(q(z | x) || N(0, I)), and the rows g(z).

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
    w: Float[Tensor, " n params"],
    config: EncoderConfig,
    *,
    behave: Behaviour | None = None,
    generator: torch.Generator,
    progress: Progress = silent,
) -> VAE:
    """Train an autoencoder of networks.

    Args:
        behave: added to the loss, e.g. `behaviour(...)`: what rows do matters, not only where
            they are (Meynent et al. 2025, arXiv:2503.17138).
    """
    with lent(generator):
        vae = VAE(w, config)
    x = (w - vae.mean) / vae.std
    optimiser = torch.optim.AdamW(vae.parameters(), config.lr, weight_decay=2e-6)
    for step in progress(range(config.steps), total=config.steps, desc="autoencoder"):
        for group in optimiser.param_groups:
            group["lr"] = config.lr * cosine_warmup(step, warmup=50, total=config.steps)
        rows = torch.randint(len(w), (min(config.batch, len(w)),), generator=generator)
        sizes = (w.shape[1], vae.latent)
        noise = tuple(torch.randn(len(rows), n, generator=generator).to(w) for n in sizes)
        loss, decoded = vae_loss(vae, x[rows], noise)
        if behave:
            loss = loss + behave(vae.mean + vae.std * decoded, w[rows])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
    return vae.eval().requires_grad_(requires_grad=False)


def behaviour(
    architecture: Architecture,
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
        some = images[torch.randint(len(images), (queries,), generator=generator)]
        with torch.no_grad():
            wanted = architecture.logits(rows, some)
        return weight * (architecture.logits(decoded, some) - wanted).square().mean()

    return loss


def pad_rows(
    grey: Architecture, coloured: Architecture, w: Float[Tensor, " n params"], mode: str
) -> Float[Tensor, " n params2"]:
    """Rows of networks for fewer channels, as long as those of networks for more.

    Args:
        mode: "channels" gives the first convolution zeros for the channels that are missing: a
            network says of an image what it said of its first channels. "tail" puts zeros behind
            the row, after which no later weight stands at its place: cut before use.

    Source: FLoWN, arXiv:2503.19371, section 3, fills up at the end; "channels" is ours.
    """
    first, missing = _first(grey, coloured), coloured.channels - grey.channels
    state = grey.unflatten(w)
    state[first] = F.pad(state[first], (0, 0, 0, 0, 0, missing))
    behind = (0, coloured.n_params - grey.n_params)
    return choose({"channels": coloured.flatten(state), "tail": F.pad(w, behind)}, mode)


def cut_rows(
    coloured: Architecture, grey: Architecture, w: Float[Tensor, " n params"], mode: str
) -> Float[Tensor, " n params2"]:
    """What `pad_rows` was given, from what it gave."""
    first = _first(grey, coloured)
    state = coloured.unflatten(w)
    state[first] = state[first][:, :, : grey.channels]
    kept = {"channels": grey.flatten(state), "tail": w[:, : grey.n_params]}
    return choose(kept, mode)


def _first(grey: Architecture, coloured: Architecture) -> str:
    """The name of the weights that differ, if no others do."""
    name = next(iter(grey.shapes))
    others = [{k: v for k, v in a.shapes.items() if k != name} for a in (grey, coloured)]
    if others[0] != others[1] or grey.channels > coloured.channels:
        raise ConfigError(
            f"want two networks that differ in their input channels alone, fewer in the "
            f"first; got {grey.name} with {grey.channels} and {coloured.name} with "
            f"{coloured.channels}"
        )
    return name


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
    architecture: Architecture,
    encoder: Encoder,
    w: Float[Tensor, " n params"],
    data: tuple[Tensor, Tensor],
) -> Ceiling:
    """What an encoder keeps of some networks: nothing that is generated through it does better."""
    decoded = encoder.decode(encoder.encode(w))
    return Ceiling(*(accuracies(architecture, rows, *data) for rows in (w, decoded)))


def save(vae: VAE, path: Path | str) -> None:
    """An autoencoder as one safetensors file, its configuration in the metadata."""
    with whole_file(path) as draft:
        meta = {"encoder": json.dumps(asdict(vae.config))}
        save_file({k: v.contiguous() for k, v in vae.state_dict().items()}, draft, meta)


def load(path: Path | str) -> VAE:
    """An autoencoder from such a file.

    Raises:
        DataMissingError: no such file.
        ArtifactError: it is damaged, or no autoencoder.
    """
    if not Path(path).exists():
        raise DataMissingError(f"no autoencoder at {path}; train one with encoders.fit_vae")
    try:
        with safe_open(path, "pt") as file:
            config = EncoderConfig(**json.loads((file.metadata() or {})["encoder"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        vae = VAE(state["mean"][None], config)
        vae.load_state_dict(state)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{path} is no whole autoencoder ({error})") from error
    return vae.eval().requires_grad_(requires_grad=False)
