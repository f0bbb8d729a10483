"""Jacobian flow: a learned gradient of the support loss as the drift h(theta, t | S).

This is ours and not HyperFlow. A learned Jacobian, fitted to backpropagated gradients of single
images, pushes theta - theta0 forward to where the features of the support images would be, the
formula of the head says where they should go, and the Jacobian pulls that back to theta. Recorded
paths teach one number, the pace. A drift network h(t, S), fitted to what is left, can correct it.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .. import checkpoint
from ..base import PRETRAINED, choose
from ..checkpoint import Checkpoint
from ..models import belonging
from . import drift
from .context import Context, head_residual, origin
from .drift import Drift, DriftNetwork
from .jacobian import Gates, LearnedJacobian
from .trajectories import Trajectories

KIND = "Jacobian flow"
SHIPPED = PRETRAINED / "jacobian_flow.safetensors"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a Jacobian flow, enough to build it again."""

    n_params: int  # of theta
    token_size: int  # numbers of theta in a token; divides n_params
    n_inputs: int  # context features of an image
    n_residual: int  # numbers of a head residual
    jacobian_width: int = 384
    feedback: bool = True  # gradient at theta; False: at theta0, whatever theta is


class Reading(NamedTuple):
    """What a support set says once for the whole path; absent images weigh 0."""

    gates: Gates
    features: Float[Tensor, " batch n dim"]
    labels: Tensor
    weights: Float[Tensor, " batch n"]
    start: Float[Tensor, " batch params"]  # the gradient at theta0
    correction: drift.Reading | None


class JacobianFlow(Drift):
    """h(theta, t | S) = pace * (-gradient of the support loss) + correction(t, S).

    Without a pace and a correction it means no adaptation.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        sizes = shape.n_inputs, shape.n_residual, shape.n_params
        self.jacobian = LearnedJacobian(*sizes, shape.jacobian_width).requires_grad_(False)
        self.correction: DriftNetwork | None = None
        self.register_buffer("pace", torch.zeros(()))  # length of the flow per gradient

    def without(self, part: str) -> "JacobianFlow":
        """A copy whose "correction" or "feedback" is switched off."""
        flow, feedback = (
            copy.deepcopy(self),
            choose({"feedback": False, "correction": True}, part),
        )
        flow.shape = replace(self.shape, feedback=feedback and self.shape.feedback)
        flow.correction = self.correction if part == "feedback" else None
        return flow

    def read(self, context: Context) -> Reading:
        self.check(context)
        weights = (context.labels >= 0).float()
        theta0 = self.theta0.expand(len(weights), -1)
        reading = Reading(
            gates=self.jacobian.gates(context.features),
            features=origin(context.features, self.shape.n_residual).float(),
            labels=context.labels,
            weights=weights / weights.sum(1, keepdim=True),
            start=theta0,
            correction=self.correction and self.correction.read(context),
        )
        return reading._replace(start=self.gradient(theta0, reading))

    def step(
        self,
        theta: Float[Tensor, " batch params"],
        t: Float[Tensor, " batch"],
        reading: Reading,
    ) -> Float[Tensor, " batch params"]:
        gradient = self.gradient(theta, reading) if self.shape.feedback else reading.start
        drift = self.pace * gradient * (self.scale > 0)
        if self.correction is None:
            return drift
        return drift + self.correction.step(theta, t, reading.correction)

    @torch.no_grad()
    def gradient(
        self, theta: Float[Tensor, " batch params"], reading: Reading
    ) -> Float[Tensor, " batch params"]:
        """-d(support loss)/d(theta) as the learned Jacobian has it: push, head, pull."""
        delta = self.moved(theta)[:, None]
        features = reading.features + self.jacobian.push(reading.gates, delta)
        residual = head_residual(features, reading.labels)
        return self.jacobian.mean_pull(reading.gates, residual, reading.weights)

    @torch.no_grad()
    def features(
        self, context: Context, theta: Float[Tensor, " params"]
    ) -> Float[Tensor, " n dim"]:
        """f(theta) ~ f(theta0) + J (theta - theta0) of every image, without the backbone."""
        self.check(context)
        gates, delta = self.jacobian.gates(context.features), self.moved(theta)
        start = origin(context.features, self.shape.n_residual)
        return start + self.jacobian.push(gates, delta)


def fit_pace(data: Trajectories, jacobian: LearnedJacobian) -> JacobianFlow:
    """The flow of a learned Jacobian, at the pace of recorded paths.

    That is the least-squares factor from the gradients at theta0 to the first recorded velocities.

    Raises:
        ConfigError: Jacobian and trajectories are of two targets.
    """
    what = "trajectories and learned Jacobian do not belong together"
    belonging.require_same(data.target, jacobian.target, what)
    data = data.of(torch.arange(min(len(data), 256)))
    flow = JacobianFlow(
        Shape(
            n_params=data.thetas.shape[-1],
            token_size=data.token_size,
            n_inputs=data.contexts.features.shape[-1],
            n_residual=data.contexts.residual.shape[-1],
            jacobian_width=jacobian.near.out_features,
        )
    ).to(data.thetas.device)
    flow.jacobian.load_state_dict(jacobian.state_dict())
    flow.target = flow.jacobian.target = data.target
    flow.theta0.copy_(data.theta0)
    flow.scale.copy_(data.unit())
    gradient = flow.gradient(data.thetas[:, 0], flow.read(data.contexts))
    first = (data.thetas[:, 1] - data.thetas[:, 0]) / data.times[1]
    flow.pace.copy_((gradient * first).sum() / gradient.square().sum().clamp(min=1e-20))
    return flow.eval()


def save(flow: JacobianFlow, path: Path | str, about: Mapping[str, str]) -> None:
    """The flow in half precision, with its target and its correction."""
    correction = flow.correction and asdict(flow.correction.shape)
    spec = {"shape": asdict(flow.shape), "target": flow.target, "correction": correction}
    checkpoint.save(path, KIND, checkpoint.halved(flow), spec, about)


def load(path: Path | str = SHIPPED) -> JacobianFlow:
    """A Jacobian flow from a file; without one the shipped flow, which has no correction."""

    def make(found: Checkpoint) -> JacobianFlow:
        flow = JacobianFlow(Shape(**found.spec["shape"]))
        if shape := found.spec["correction"]:
            flow.correction = DriftNetwork(drift.Shape(**shape))
        flow.load_state_dict(found.tensors)
        flow.target = flow.jacobian.target = found.spec["target"]
        return flow.eval()

    return checkpoint.load(
        path, KIND, make, "run: python data_scripts/learn_jacobian.py STORE"
    )
