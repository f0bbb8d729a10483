"""HyperFlow's drift network: one network h(theta, t | S), trained on recorded paths.

theta is cut into tokens, one for each layer and part (for qkv biases: the query, key and value bias
of each layer), in units of their displacement. The support set gives a token for each image, which
sees the classes and knows its own, and one for each class. The tokens of theta attend to these.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from .. import base, checkpoint
from ..base import PRETRAINED, ConfigError
from ..checkpoint import Checkpoint
from ..models import belonging
from ..models.targets import Target
from ..nn import MLP, Attention, ConditionedBlock, TimeEmbedding
from .context import Context

KIND = "drift network"
SHIPPED = ("linear",)  # HyperFlow-L


class Drift(nn.Module):
    """A velocity h(theta, t | S) for a batch of tasks; `given(context)` binds one support set.

    A kind of drift says what it reads of a support set once, and its `step` at theta and t.
    Parameters whose `scale` is zero (the inert key biases) never move.
    """

    target: str = ""  # what it was trained for, as `models.belonging.described` has it

    def __init__(self, shape: Any) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("theta0", torch.zeros(shape.n_params))
        self.register_buffer("scale", torch.ones(shape.n_params))  # of the displacement
        self.register_buffer("speed", torch.ones(()))  # of velocities, in these units

    def read(self, context: Context) -> Any:
        """Everything that stays the same along a path."""
        raise NotImplementedError

    def step(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        reading: Any,
    ) -> Float[Tensor, " batch params"]:
        """The drift at theta and t for support sets that were read before."""
        raise NotImplementedError

    def forward(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        context: Context,
    ) -> Float[Tensor, " batch params"]:
        return self.step(theta, t, self.read(context))

    def require(self, target: Target) -> None:
        """Raise ConfigError unless the network was trained for this backbone and subset."""
        belonging.require(target, self.target, "this drift network", theta0=self.theta0)

    def moved(
        self, theta: Float[Tensor, "*batch params"]
    ) -> Float[Tensor, "*batch params"]:
        """theta - theta0, 0 where nothing moves."""
        if theta.shape[-1] != self.shape.n_params:
            raise ConfigError(
                f"theta has {theta.shape[-1]} numbers, this drift network takes "
                f"{self.shape.n_params}: use the target and subset it was trained for"
            )
        return (theta - self.theta0) * (self.scale > 0)

    def check(self, context: Context) -> None:
        """Raise ConfigError unless the context is of the right target."""
        if (found := context.features.shape[-1]) != self.shape.n_inputs:
            raise ConfigError(
                f"context features have {found} numbers, this drift network takes "
                f"{self.shape.n_inputs}: use the target it was trained for"
            )

    @torch.no_grad()
    def given(self, context: Context) -> base.Velocity:
        """The plain velocity f(t, theta) of one support set, or of a batch of them."""
        alone = context.labels.ndim == 1
        reading = self.read(context[None] if alone else context)

        @torch.no_grad()
        def velocity(
            t: Tensor, theta: Float[Tensor, "*batch params"]
        ) -> Float[Tensor, "*batch params"]:
            rows = theta[None] if alone else theta
            drift = self.step(rows, t.to(theta).expand(len(rows)), reading)
            return drift[0] if alone else drift

        return velocity


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a drift network, enough to build it again."""

    n_params: int  # of theta
    token_size: int  # numbers of theta in a token; divides n_params
    n_inputs: int  # context features of an image
    width: int = 128
    depth: int = 2  # blocks over the tokens of theta
    image_depth: int = 2  # blocks over the images
    n_heads: int = 4
    dropout: float = 0.1
    sees_theta: bool = True  # False: h(t, S)


class Reading(NamedTuple):
    """What a support set says once for the whole path: tokens of its images, then its classes."""

    tokens: Float[Tensor, " batch memory width"]
    present: Bool[Tensor, " batch memory"]
    pooled: Float[Tensor, " batch width"]


class ImageBlock(nn.Module):
    """Every image sees the mean of its class and attends to all means; then an MLP."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.own = nn.Linear(width, width)
        self.attention = Attention(width, n_heads)
        self.mlp = MLP(width, 2 * width, width, dropout=dropout)

    def forward(
        self, x: Float[Tensor, " batch n width"], own: Float[Tensor, " batch n way"]
    ) -> Float[Tensor, " batch n width"]:
        y = self.norms[0](x)
        means = class_means(y, own)
        x = x + self.own(own @ means) + self.attention(y, means, own.any(1))
        return x + self.mlp(self.norms[1](x))


def class_means(
    x: Float[Tensor, " batch n width"], own: Float[Tensor, " batch n way"]
) -> Float[Tensor, " batch way width"]:
    """The mean over each class; `own` is 1 where an image is of a class."""
    return own.mT @ x / own.sum(1).clamp(min=1)[..., None]


class DriftNetwork(Drift):
    """h(theta, t | S) as a transformer over the tokens of theta.

    The output layer is zero at first, so an untrained network means no adaptation.

    Source: HyperFlow, arXiv:2504.15323, section 3.2, gives the task (theta, t, S) -> drift but not
    the body, which follows DiT (adaLN-Zero on time and the mean class).
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        tokens, width = shape.n_params // shape.token_size, shape.width
        sizes = width, shape.n_heads, shape.dropout
        self.time, self.counts = TimeEmbedding(width), nn.Linear(2, width)
        self.image_in = nn.Linear(shape.n_inputs, width)
        self.images = nn.ModuleList(ImageBlock(*sizes) for _ in range(shape.image_depth))
        first = torch.empty(tokens, shape.token_size, width)
        self.theta_in = nn.Parameter(nn.init.normal_(first, std=shape.token_size**-0.5))
        self.place = nn.Parameter(nn.init.normal_(torch.empty(tokens, width), std=0.02))
        self.blocks = nn.ModuleList(ConditionedBlock(*sizes) for _ in range(shape.depth))
        self.out = nn.Parameter(torch.zeros(tokens, width, shape.token_size))
        self.register_buffer("input_mean", torch.zeros(shape.n_inputs))
        self.register_buffer("input_std", torch.ones(shape.n_inputs))

    def read(self, context: Context) -> Reading:
        self.check(context)
        x = (context.features.to(self.input_mean) - self.input_mean) / self.input_std
        names = torch.arange(int(context.labels.max()) + 1, device=x.device)
        own = (context.labels[..., None] == names).to(x)
        x = self.image_in(x)
        for block in self.images:
            x = block(x, own)
        sizes = own.sum(1)
        n, there = sizes.sum(1, keepdim=True), (sizes > 0).to(x)[..., None]
        counts = torch.stack([sizes.clamp(min=1).log(), sizes / n], 2)
        classes = class_means(x, own) + self.counts(counts)
        pooled = (classes * there).sum(1) / there.sum(1)
        present = torch.cat([own.any(2), sizes > 0], 1)
        return Reading(torch.cat([x, classes], 1), present, pooled)

    def step(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        reading: Reading,
    ) -> Float[Tensor, " batch params"]:
        delta = self.moved(theta) / self.scale.where(self.scale > 0, 1.0)
        tokens = (self.shape.sees_theta * delta).unflatten(1, (-1, self.shape.token_size))
        x = torch.einsum("bks,ksw->bkw", tokens, self.theta_in) + self.place
        condition = F.silu(self.time(t) + reading.pooled)
        for block in self.blocks:
            x = block(x, reading.tokens, reading.present, condition)
        drift = torch.einsum("bkw,kws->bks", x, self.out).flatten(1)
        return self.speed * self.scale * drift


def save(net: DriftNetwork, path: Path | str, about: Mapping[str, str]) -> None:
    """The network in half precision, with its shape and its target."""
    spec = {"shape": asdict(net.shape), "target": net.target}
    checkpoint.save(path, KIND, checkpoint.halved(net), spec, about)


def load(name: Path | str = "linear") -> DriftNetwork:
    """A drift network from a file, or the shipped one: "linear" (HyperFlow-L)."""
    path = PRETRAINED / f"hyperflow_{name}.safetensors" if name in SHIPPED else name

    def make(found: Checkpoint) -> DriftNetwork:
        net = DriftNetwork(Shape(**found.spec["shape"]))
        net.load_state_dict(found.tensors)
        net.target = found.spec["target"]
        return net.eval()

    remedy = f"shipped are {list(SHIPPED)}, or run: python data_scripts/train_drift.py"
    return checkpoint.load(path, KIND, make, remedy)
