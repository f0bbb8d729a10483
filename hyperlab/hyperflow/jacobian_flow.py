"""Jacobian flow: a learned gradient of the support loss as the drift h(theta, t | S).

This is not the paper's network. HyperFlow trains one network that takes theta, t and S on recorded
paths; here a learned Jacobian, fitted to backpropagated gradients of single images, gives the
drift, and paths teach its pace and a correction that adds nothing measurable
(results/guess_alone.md).

Fine-tuning follows a gradient, so the network begins with a guess at it: a learned Jacobian pushes
theta - theta0 forward to where the features of the support images would be, the formula of the head
says where they should go, and the Jacobian pulls that back to theta. A transformer over the tokens
of theta (for qkv biases: the query, key and value bias of each layer) then corrects the guess,
looking at class tokens and at the time, but not at theta: a recorded theta_t carries the noise of
the very step whose velocity is wanted, and a network that sees it learns to read that noise.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from .. import base, checkpoint
from ..base import PRETRAINED, ArtifactError, ConfigError, DataMissingError, expanded
from ..checkpoint import Checkpoint, Spec
from ..models import belonging
from ..models.targets import Target
from ..nn import ConditionedBlock, TimeEmbedding
from . import jacobian
from .context import Context, head_residual, origin
from .jacobian import Gates, LearnedJacobian

KIND = "Jacobian flow"
SHIPPED = ("linear", "cubic")  # Jacobian flow L and C
LOG_SIZE = 3.0  # about the mean logarithm of a support set's size: centres what is read


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a drift network, enough to build it again."""

    n_params: int  # of theta
    token_size: int  # numbers of theta in a token; divides n_params
    n_inputs: int  # context features of an image
    n_residual: int  # numbers of a head residual
    width: int = 96
    depth: int = 2  # blocks
    n_heads: int = 4
    dropout: float = 0.1
    jacobian_width: int = 384
    feedback: bool = True  # guess at theta; False: at theta0, for straight paths


class Reading(NamedTuple):
    """What a support set says once for the whole path; absent images weigh 0."""

    gates: Gates
    features: Float[Tensor, " batch n dim"]
    labels: Tensor
    weights: Float[Tensor, " batch n"]
    classes: Float[Tensor, " batch way width"]
    present: Bool[Tensor, " batch way"]
    pooled: Float[Tensor, " batch width"]
    start: Float[Tensor, " batch params"]  # the guess at theta0


class JacobianFlow(nn.Module):
    """h(theta, t | S) for a batch of tasks; `given(context)` binds one support set.

    The pace of the guess and the output layer are zero at first, so an untrained network means no
    adaptation. Tokens whose scale is zero (the inert key biases) never move.

    Source: HyperFlow, arXiv:2504.15323, section 3.2, gives the task (theta, t, S) -> drift but not
    the body. The learned Jacobian is ours; the correction follows DiT (adaLN-Zero).
    """

    target: str = ""  # what it was trained for, as `models.belonging.described` has it

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        tokens = shape.n_params // shape.token_size
        sizes = shape.n_inputs, shape.n_residual, shape.n_params
        self.jacobian = LearnedJacobian(*sizes, shape.jacobian_width).requires_grad_(False)
        self.time = TimeEmbedding(width)
        self.image_in = nn.Linear(2 * shape.jacobian_width, width)
        self.counts = nn.Linear(2, width)
        self.guess_in = nn.Linear(shape.token_size, width)
        noise = torch.randn(tokens, width, generator=torch.Generator().manual_seed(0))
        self.place = nn.Parameter(0.02 * noise)
        blocks = [(width, shape.n_heads, shape.dropout)] * shape.depth
        self.blocks = nn.ModuleList(ConditionedBlock(*sizes) for sizes in blocks)
        self.out = nn.Parameter(torch.zeros(tokens, width, shape.token_size))
        self.register_buffer("theta0", torch.zeros(shape.n_params))
        self.register_buffer("scale", torch.ones(shape.n_params))
        self.register_buffer("pace", torch.zeros(()))  # length of the flow per gradient
        self.register_buffer("image_unit", torch.ones(()))  # of an image's hidden numbers

    def forward(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        context: Context,
    ) -> Float[Tensor, " batch params"]:
        return self.step(theta, t, self.read(context))

    def read(self, context: Context) -> Reading:
        """Everything that stays the same along a path: gates, class tokens and their mean."""
        self._check(context)
        with torch.no_grad():
            gates = self.jacobian.gates(context.features)
            hidden = self.jacobian.hidden(gates, context.residual.float()) / self.image_unit
        names = torch.arange(int(context.labels.max()) + 1, device=hidden.device)
        one_hot = (context.labels[..., None] == names).float()
        sizes, weights = one_hot.sum(1), one_hot.sum(2)
        present, share = sizes > 0, sizes / sizes.sum(1, keepdim=True)
        images = F.silu(self.image_in(torch.cat([hidden, gates[1]], 2)))
        classes = one_hot.transpose(1, 2) @ images / sizes.clamp(min=1)[..., None]
        pooled = (share[:, None] @ classes)[:, 0]
        counts = (
            torch.stack([sizes.sum(1).log(), present.sum(1).float().log()], 1) - LOG_SIZE
        )
        each = self.counts(torch.stack([sizes.clamp(min=1).log(), share], 2))
        theta0 = self.theta0.expand(len(weights), -1)
        reading = Reading(
            gates=gates,
            features=origin(context.features, self.shape.n_residual).float(),
            labels=context.labels,
            weights=weights / weights.sum(1, keepdim=True),
            classes=classes + each,
            present=present,
            pooled=pooled + self.counts(counts),
            start=theta0,
        )
        return reading._replace(start=self.guess(theta0, reading))

    def step(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        reading: Reading,
    ) -> Float[Tensor, " batch params"]:
        """The drift at theta and t for support sets that were read before."""
        if theta.shape[-1] != self.shape.n_params:
            raise ConfigError(
                f"theta has {theta.shape[-1]} numbers, this drift network takes "
                f"{self.shape.n_params}: use the target and subset it was trained for"
            )
        guess = self.guess(theta, reading) if self.shape.feedback else reading.start
        moves = self.scale > 0
        start = self.pace * reading.start * moves / self.scale.clamp(min=1e-12)
        condition = F.silu(self.time(t) + reading.pooled)
        x = self.guess_in(start.unflatten(1, (-1, self.shape.token_size))) + self.place
        for block in self.blocks:
            x = block(x, reading.classes, reading.present, condition)
        corrected = torch.einsum("bkw,kws->bks", x, self.out).flatten(1)
        return self.pace * guess * moves + self.scale * corrected

    @torch.no_grad()
    def guess(
        self, theta: Float[Tensor, " batch params"], reading: Reading
    ) -> Float[Tensor, " batch params"]:
        """-d(support loss)/d(theta) as the learned Jacobian has it: push, head, pull."""
        delta = ((theta - self.theta0) * (self.scale > 0))[:, None]
        features = reading.features + self.jacobian.push(reading.gates, delta)
        residual = head_residual(features, reading.labels)
        return self.jacobian.mean_pull(reading.gates, residual, reading.weights)

    @torch.no_grad()
    def features(
        self, context: Context, theta: Float[Tensor, " params"]
    ) -> Float[Tensor, " n dim"]:
        """f(theta) ~ f(theta0) + J (theta - theta0) of every image, without the backbone."""
        self._check(context)
        delta = (theta - self.theta0) * (self.scale > 0)
        moved = self.jacobian.push(self.jacobian.gates(context.features), delta)
        return origin(context.features, self.shape.n_residual) + moved

    def require(self, target: Target) -> None:
        """Raise ConfigError unless the network was trained for this backbone and subset."""
        belonging.require(target, self.target, "this drift network", theta0=self.theta0)

    def _check(self, context: Context) -> None:
        found = context.features.shape[-1], context.residual.shape[-1]
        if found != (wanted := (self.shape.n_inputs, self.shape.n_residual)):
            raise ConfigError(
                f"context features and residual have {found} numbers, this drift network takes "
                f"{wanted}: use the target it was trained for"
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


def guess_alone(net: JacobianFlow) -> JacobianFlow:
    """The same network with its correction switched off: pace x the learned Jacobian's gradient."""
    alone = copy.deepcopy(net)
    nn.init.zeros_(alone.out)
    return alone


def save(
    net: JacobianFlow, path: Path | str, about: Mapping[str, str], *, shared: str = ""
) -> None:
    """The network in half precision, with its shape and its target.

    Args:
        shared: name of the file in the same folder that holds its learned Jacobian (made by
            `jacobian.share`), which is then not written again; without it the file stands alone.
    """
    spec = {"shape": asdict(net.shape), "target": net.target}
    state, inside = checkpoint.halved(net), {}
    if shared:
        spec["jacobian"] = {"file": shared, "digest": jacobian.digest(net.jacobian)}
        inside = _beside(expanded(Path(path)), spec)
    state = {name: x for name, x in state.items() if name not in inside}
    checkpoint.save(path, KIND, state, spec, about)


def load(name: Path | str = "cubic") -> JacobianFlow:
    """A drift network from a file, or a shipped one: "linear" or "cubic"."""
    path = PRETRAINED / f"jacobian_flow_{name}.safetensors" if name in SHIPPED else name
    path = expanded(Path(path))

    def make(found: Checkpoint) -> JacobianFlow:
        net = JacobianFlow(Shape(**found.spec["shape"]))
        net.load_state_dict(found.tensors | _beside(path, found.spec))
        net.target = net.jacobian.target = found.spec["target"]
        return net.eval()

    remedy = f"shipped are {list(SHIPPED)}, or run: python data_scripts/train_drift.py"
    return checkpoint.load(path, KIND, make, remedy)


def _beside(path: Path, spec: Spec) -> dict[str, Tensor]:
    """The Jacobian's part of the state, from the file beside `path` if `spec` names one."""
    if "jacobian" not in spec:
        return {}
    shared = path.with_name(spec["jacobian"]["file"])
    if not shared.exists():
        raise DataMissingError(
            f"{path} needs {shared}, which is not there: put both into one folder, or train "
            "again with --out, which makes one file: python data_scripts/train_drift.py"
        )
    learned = jacobian.load(shared)
    if jacobian.digest(learned) != spec["jacobian"]["digest"]:
        raise ArtifactError(
            f"{shared} is another learned Jacobian than {path.name} was trained with: take both "
            "files from one place, or train again: python data_scripts/train_drift.py"
        )
    return {f"jacobian.{name}": x for name, x in checkpoint.halved(learned).items()}
