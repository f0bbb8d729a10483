"""Methods of adaptation: which parameters move, and by which rule.

Every method is called `(target, support) -> theta`, and `method.view(target)` is the target whose
subset that theta belongs to, so that cost audits, tables and figures are written once:

    view = method.view(target)
    theta = method(view, episode.support)
    view.accuracy(theta, episode)

`classifier(method, view, support)` gives theta and the class means under it; a method may have a
`classifier` of its own, whose means cost less than another pass over the support images.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from .. import params, solvers
from ..base import ConfigError, stream
from ..executor import one_thread
from ..models.targets import Target, prototypes
from ..tasks.episodes import LabelledImages
from .context import Context, encode
from .drift import Drift
from .teacher import Supports, TeacherConfig, fine_tune

SMALL = 25  # support images whose solver steps one thread takes as fast as two


@runtime_checkable
class Method(Protocol):
    """A way to go from a support set to the parameters that suit it.

    An unsound support set is refused before any work, by `LabelledImages.require`.
    """

    name: str

    def view(self, target: Target) -> Target: ...

    def __call__(self, target: Target, support: LabelledImages) -> Tensor: ...


class Classifier(NamedTuple):
    """What an adaptation leaves behind: parameters, and the class means under them."""

    theta: Float[Tensor, " params"]
    centres: Float[Tensor, " way dim"]


def classifier(method: Method, target: Target, support: LabelledImages) -> Classifier:
    """Adapt; the class means are the method's own, or those of all support images at theta."""
    if hasattr(method, "classifier"):
        return method.classifier(target, support)
    return _means_of_all(target, method(target, support), support)


@torch.no_grad()
def _means_of_all(
    target: Target, theta: Tensor, support: LabelledImages, chunk: int | None = None
) -> Classifier:
    return Classifier(theta, target.centres(theta, support, chunk=chunk))


@dataclass(frozen=True)
class NoAdaptation:
    """A prototype network with the pre-trained parameters (direct transfer).

    Source: Snell et al. 2017, arXiv:1703.05175.
    """

    name: str = "no adaptation"

    def view(self, target: Target) -> Target:
        return target

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        support.require()
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
            blank = target.prepare(torch.zeros(1, 3, target.image_size, target.image_size))
            g = stream(self.seed, "lora")
            model = params.with_lora(target.model, rank=self.rank, generator=g, trial=blank)
            target = replace(target, model=model)
        return target.moving(self.match)

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        own, wanted = target.subset, target.moving(self.match).subset
        if (own.names, own.thirds) != (wanted.names, wanted.thirds):
            raise ConfigError(
                f"{self.name!r} moves {wanted.n_params} numbers ({wanted.names[0]}, ...), the "
                f"target {own.n_params} ({own.names[0]}, ...); call it with method.view(target)"
            )
        supports, views = Supports.join([support]), [stream(self.seed, "views")]
        for thetas, _ in fine_tune(target, supports, self.config, views):
            last = thetas  # no step before it is kept
        return last[0]


def bias_tuning(**config: float | int | str) -> FineTuning:
    """The qkv biases move: what HyperFlow emulates."""
    teacher = TeacherConfig(**config)
    return FineTuning(name="bias-tuning", match=params.qkv_biases, config=teacher)


@dataclass(frozen=True, kw_only=True)
class LearnedFlow:
    """theta(1) of d theta/dt = length * h(theta, t | S): no autograd, no backbone passes per step.

    Args:
        steps: of the solver; none runs the target. The context costs one forward pass of it over
            the support images, the class means at theta(1) another (see `push`).
        method: of the solver. The flow is stiff: on validation domains Euler's method needs 160
            steps for what ten Chebyshev steps of five looks reach (results/solvers.md).
        length: factor on the drift, chosen on validation domains.
        chunk: images in memory at a time; None: all.
        push: take the class means from the context's features, moved by the learned Jacobian;
            False: from another pass over the support images, at theta(1).

    Source: HyperFlow, arXiv:2504.15323, section 3.3 (there: Euler's method, step size alpha).
    """

    net: Drift
    steps: int = 10
    method: str = "chebyshev"
    length: float = 1.0
    chunk: int | None = None
    push: bool = False
    name: str = "Jacobian flow"

    def view(self, target: Target) -> Target:
        self.net.require(target)
        return target

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        return self.path(target, support)[-1]

    def classifier(self, target: Target, support: LabelledImages) -> Classifier:
        """theta(1) and the class means there, by one pass over the support set or by two."""
        self.net.require(target)
        context = encode(target, support, chunk=self.chunk)
        theta = self.follow(target.theta0, context)[-1]
        if not self.push:
            return _means_of_all(target, theta, support, self.chunk)
        moved = self.net.features(context, theta)
        return Classifier(theta, prototypes(moved, support.labels, support.n_way))

    def path(
        self, target: Target, support: LabelledImages
    ) -> Float[Tensor, "knots params"]:
        """theta before the first and after every solver step."""
        self.net.require(target)
        return self.follow(target.theta0, encode(target, support, chunk=self.chunk))

    def follow(
        self, theta0: Float[Tensor, " params"], context: Context
    ) -> Float[Tensor, " knots params"]:
        """The path from theta0 for a support set that was encoded before."""
        drift = self.net.given(context)

        def f(t: Tensor, theta: Tensor) -> Tensor:
            return self.length * drift(t, theta)

        with one_thread() if context.labels.numel() <= SMALL else nullcontext():
            return solvers.solve(f, theta0, steps=self.steps, method=self.method)


@dataclass(frozen=True, kw_only=True)
class Wrapper:
    """What changes another method's input or output; it moves the same parameters."""

    method: Method

    def view(self, target: Target) -> Target:
        return self.method.view(target)


@dataclass(frozen=True, kw_only=True)
class FewerImages(Wrapper):
    """Another method, shown some of the support images, evenly over the classes.

    Args:
        share: of the images, rounded up; at least one of every class is shown.
        max_images: and no more than so many in all; None: no bound.
        means_of_all: take the class means at theta from all images, by a pass over them; False:
            from the shown ones, as the method does.
    """

    name: str
    share: float = 1.0
    max_images: int | None = None
    means_of_all: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or (self.max_images or 1) < 1:
            raise ConfigError(f"share must lie in (0, 1], max_images be >= 1, got {self}")
        if self.share == 1 and self.max_images is None:
            raise ConfigError(
                f"all images are the method {self.method.name!r} itself; take a share below 1 "
                "or a bound max_images"
            )

    def shown(self, support: LabelledImages) -> LabelledImages:
        """The images that the method sees: one of each class or more, so of one shot all."""
        support.require()
        n = math.ceil(self.share * len(support.labels))
        return support.at_most(max(min(n, self.max_images or n), support.n_way))

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        return self.method(target, self.shown(support))

    def classifier(self, target: Target, support: LabelledImages) -> Classifier:
        if not self.means_of_all:
            return classifier(self.method, target, self.shown(support))
        return _means_of_all(target, self(target, support), support)
