"""A learned Jacobian: how an image's feature answers to the moving parameters, without autograd.

For one image J = d feature / d theta, a matrix of (dim x params). Backpropagation multiplies J^T by
the head's residual r to get that image's part of the gradient. J depends on the image alone, not on
the task, so a network can learn it from any image: it guesses J from what one frozen forward pass
shows, and is then used in both directions.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import Progress, choose, silent
from ..models import belonging
from ..models.targets import Target
from ..nn import Descent, fit, lent
from ..tasks import augment
from ..tasks.episodes import LabelledImages
from .context import encode, head_residual, origin

Gates = tuple[Tensor, Tensor]


class LearnedJacobian(nn.Module):
    """J(x)^T = F (I + D_2(x) M) D_1(x) N, with diagonal gates D_1, D_2 that the image sets.

    `pull` multiplies by J^T (feature space -> parameters: backward), `push` by J (parameters ->
    feature space: forward); one set of weights serves both, so they are exact adjoints.
    """

    target: str = ""  # what it was learned of, as `models.belonging.described` has it

    def __init__(self, n_inputs: int, n_features: int, n_params: int, width: int) -> None:
        super().__init__()
        self.gate1 = nn.Linear(n_inputs, width)
        self.gate2 = nn.Linear(width, width)
        self.near = nn.Linear(n_features, width, bias=False)
        self.middle = nn.Linear(width, width, bias=False)
        self.far = nn.Linear(width, n_params, bias=False)
        self.register_buffer("input_mean", torch.zeros(n_inputs))
        self.register_buffer("input_std", torch.ones(n_inputs))
        self.register_buffer("unit", torch.ones(n_params))  # of J's columns

    def gates(self, x: Float[Tensor, "*batch inputs"]) -> Gates:
        """The diagonals of D_1 and D_2: all that J needs to know of an image."""
        x = (x.to(self.input_mean) - self.input_mean) / self.input_std
        first = F.silu(self.gate1(x))
        return first, F.silu(self.gate2(first))

    def pull(
        self, gates: Gates, r: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch params"]:
        """J^T r: the direction of theta that moves each feature along r."""
        return self.far(self.hidden(gates, r)) * self.unit

    def mean_pull(
        self,
        gates: Gates,
        r: Float[Tensor, "*batch n dim"],
        weights: Float[Tensor, "*batch n"],
    ) -> Float[Tensor, "*batch params"]:
        """sum_i w_i J_i^T r_i; the last product, the dearest, is done once for all images."""
        hidden = (weights[..., None] * self.hidden(gates, r)).sum(-2)
        return self.far(hidden) * self.unit

    def push(
        self, gates: Gates, delta: Float[Tensor, "*some params"]
    ) -> Float[Tensor, "*batch dim"]:
        """J delta: where each feature goes when theta moves by delta, one or one for each."""
        z = (delta * self.unit) @ self.far.weight
        y = z + (gates[1] * z) @ self.middle.weight
        return (gates[0] * y) @ self.near.weight

    def hidden(
        self, gates: Gates, r: Float[Tensor, "*batch dim"]
    ) -> Float[Tensor, "*batch width"]:
        """F^-1 J^T r, so to say: an image's part of the gradient before the last product."""
        y = gates[0] * self.near(r)
        return y + gates[1] * self.middle(y)


@dataclass(frozen=True, kw_only=True)
class JacobianConfig:
    """How a learned Jacobian is trained."""

    n_tasks: int = 1_000  # recorded tasks looked at, at most
    looks: int = 3  # at each of them: once as it is, then as augmented views
    steps: int = 6_000  # gradient steps
    batch: int = 768  # images a step
    width: int = 384
    lr: float = 2e-3  # peak, AdamW, cosine

    @classmethod
    def at(cls, scale: str) -> "JacobianConfig":
        smoke = cls(n_tasks=12, looks=2, steps=30, batch=64, width=32)
        laptop = cls(n_tasks=120, looks=2, steps=400)
        return choose({"smoke": smoke, "laptop": laptop, "paper": cls()}, scale)


class Examples(NamedTuple):
    """What backward passes of the target tell about the Jacobians of several images."""

    inputs: Float[Tensor, " n inputs"]  # context features, at theta0
    feature: Float[Tensor, " n dim"]  # f at theta0 + delta, as are
    residual: Float[Tensor, " n dim"]  # r
    pulled: Float[Tensor, " n params"]  # and J^T r
    delta: Float[Tensor, " looks params"]  # of each backward pass
    look: Int[Tensor, " n"]  # row of `delta` of each image
    target: str = ""  # as `models.belonging.described` has it; "": unknown


def examples_at(
    target: Target, support: LabelledImages, theta: Float[Tensor, " params"]
) -> Examples:
    """The true J^T r of every image of a support set under theta, by one backward pass."""
    context, theta0 = encode(target, support), target.theta0
    theta = theta.to(theta0)
    columns = context.features, *pulled_by_autograd(target, theta, support)
    delta, rows = (theta - theta0)[None].cpu(), torch.zeros(len(context.labels)).long()
    return Examples(*(x.half().cpu() for x in columns), delta, rows)


def pulled_by_autograd(
    target: Target, theta: Float[Tensor, " params"], support: LabelledImages
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, head residuals and J^T r of every image under theta, by one backward pass."""
    n = len(support.labels)
    rows = theta.expand(n, -1).clone().requires_grad_()
    features = target.features(rows, support.images, torch.arange(n, device=rows.device))
    labels = support.labels.to(rows.device)
    residual = head_residual(features.detach(), labels, target.logit_scale)
    (pulled,) = torch.autograd.grad((features * residual).sum(), rows)
    return features.detach(), residual, pulled


def gather(
    target: Target,
    tasks: Iterable[tuple[LabelledImages, Float[Tensor, " knots params"]]],
    config: JacobianConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> Examples:
    """Look at the first `config.n_tasks` of (support set, path), at random points of the path.

    Fine-tuning sees augmented views; they are also new images for a network that learns from each.
    """
    parts: list[Examples] = []
    counted = progress(tasks, total=config.n_tasks, desc="looking at Jacobians")
    for support, path in itertools.islice(counted, config.n_tasks):
        for k in range(config.looks):
            theta = path[torch.randint(len(path), (), generator=generator)]
            images = augment.view(support.images, generator) if k else support.images
            part = examples_at(target, replace(support, images=images), theta)
            parts.append(part._replace(look=part.look + len(parts)))
    columns = [torch.cat(column) for column in zip(*(p[:-1] for p in parts), strict=True)]
    return Examples(*columns, target=belonging.described(target))


def fit_jacobian(
    data: Examples,
    config: JacobianConfig,
    *,
    token_size: int,
    generator: torch.Generator,
    progress: Progress = silent,
    device: torch.device | str = "cpu",
) -> LearnedJacobian:
    """Fit both directions: J^T r to backpropagation, J delta to how the features really moved.

    Each token of theta counts alike, and the error of the features in units of their change.
    """
    net = build(data, config.width, token_size, generator).to(device)
    moved = data.feature.float() - origin(data.inputs, data.feature.shape[1]).float()
    spread = moved.square().mean().sqrt().clamp(min=1e-6)
    per_unit = 1 / net.unit.where(net.unit > 0, torch.inf) / data.residual.float().std()

    def loss() -> Tensor:
        rows = torch.randint(len(data.look), (config.batch,), generator=generator)
        gates = net.gates(data.inputs[rows].to(device))
        pulled = net.pull(gates, data.residual[rows].to(device).float())
        backward = (pulled - data.pulled[rows].to(device)) * per_unit
        pushed = net.push(gates, data.delta[data.look[rows]].to(device))
        forward = (pushed - moved[rows].to(device)) / spread
        return backward.square().mean() + forward.square().mean()

    options = {"steps": config.steps, "lr": config.lr, "warmup": 100, "clip": 5.0}
    descent = Descent(**options, weight_decay=0.02)
    return fit(net, loss, descent, desc="learned Jacobian", progress=progress)[0]


def build(
    data: Examples, width: int, token_size: int, generator: torch.Generator
) -> LearnedJacobian:
    """An untrained network in the units of `data`; tokens that nothing pulls stay still."""
    sizes = data.inputs.shape[1], data.feature.shape[1], data.pulled.shape[1]
    with lent(generator):
        net = LearnedJacobian(*sizes, width)
    net.target = data.target
    sample = torch.randint(len(data.look), (4_096,), generator=generator)
    inputs, pulled = data.inputs[sample].float(), data.pulled[sample].float()
    tokens = pulled.unflatten(1, (-1, token_size)).square().mean((0, 2)).sqrt()
    tokens = tokens * (tokens > 1e-4 * tokens.max())
    net.input_mean.copy_(inputs.mean(0))
    net.input_std.copy_(inputs.std(0).clamp(min=1e-3))
    spread = data.residual[sample].float().std()
    net.unit.copy_(tokens.repeat_interleave(token_size) / spread)
    return net
