"""Methods of adaptation: which parameters move, and by which rule.

Every method is called `(target, support) -> theta`, and `method.view(target)` is the target whose
subset that theta belongs to, so that cost audits, tables and figures are written once:

    view = method.view(target)
    theta = method(view, episode.support)
    view.accuracy(theta, episode)
"""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from .. import params, solvers
from ..base import ConfigError, stream
from ..models.targets import Target
from ..tasks.episodes import LabelledImages
from .context import encode
from .drift import DriftNetwork
from .teacher import Supports, TeacherConfig, fine_tune


@runtime_checkable
class Method(Protocol):
    """A way to go from a support set to the parameters that suit it."""

    @property
    def name(self) -> str: ...

    def view(self, target: Target) -> Target: ...

    def __call__(self, target: Target, support: LabelledImages) -> Tensor: ...


@dataclass(frozen=True)
class NoAdaptation:
    """A prototype network with the pre-trained parameters (direct transfer).

    Source: Snell et al. 2017, arXiv:1703.05175.
    """

    name: str = "no adaptation"

    def view(self, target: Target) -> Target:
        return target

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        return target.theta0


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Gradient steps on the support set; the subset says what moves.

    Args:
        seed: of the augmented views.
        rank: of low-rank factors put into the qkv projections first; 0 is none.
    """

    name: str
    match: params.Predicate
    config: TeacherConfig = field(default_factory=TeacherConfig)
    seed: int = 0
    rank: int = 0

    def view(self, target: Target) -> Target:
        if self.rank:
            generator = stream(self.seed, "lora")
            model = params.with_lora(target.model, rank=self.rank, generator=generator)
            target = replace(target, model=model)
        return target.moving(self.match)

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        generators = [stream(self.seed, "views")]
        for theta, _ in fine_tune(
            target, Supports.join([support]), self.config, generators
        ):
            last = theta
        return last[0]


def bias_tuning(**config: float | int | str) -> FineTuning:
    """The qkv biases move: what HyperFlow emulates."""
    return FineTuning(
        name="bias-tuning", match=params.qkv_biases, config=TeacherConfig(**config)
    )


@dataclass(frozen=True, kw_only=True)
class HyperFlow:
    """theta(1) of d theta/dt = length * h(theta, t | S): no gradients, no backbone passes per step.

    Args:
        steps: of the solver; the context costs one forward pass of the frozen target.
        method: of the solver. The flow is stiff: on validation domains Euler's method needs 160
            steps for what ten Chebyshev steps of five looks reach (results/solvers.md).
        length: factor on the drift, chosen on validation domains.

    Source: HyperFlow, arXiv:2504.15323, section 3.3 (there: Euler's method, step size alpha).
    """

    net: DriftNetwork
    steps: int = 10
    method: str = "chebyshev"
    length: float = 1.0
    name: str = "HyperFlow"

    def view(self, target: Target) -> Target:
        return target

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        return self.path(target, support)[-1]

    def path(
        self, target: Target, support: LabelledImages
    ) -> Float[Tensor, " knots params"]:
        """theta before the first and after every solver step."""
        if len(target.theta0) != self.net.shape.n_params:
            raise ConfigError(
                f"the drift network moves {self.net.shape.n_params} numbers, the target "
                f"{len(target.theta0)}: load the target with the subset it was trained for"
            )
        drift = self.net.given(encode(target, support))
        return solvers.solve(
            lambda t, theta: self.length * drift(t, theta),
            target.theta0,
            steps=self.steps,
            method=self.method,
        )
