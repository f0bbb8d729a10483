"""Fine-tuning of many tasks at once: the gradient steps that HyperFlow learns from.

The loss of one task is cross-entropy of augmented support images against class means that leave the
image itself out. All tasks share the frozen weights, each has its own row of moving parameters, so
one ordinary forward and backward pass serves them all: d(sum of losses)/d(row i) is task i's own
gradient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..base import ConfigError, choose
from ..models.head import leave_one_out
from ..models.targets import Target
from ..tasks import augment
from ..tasks.episodes import LabelledImages


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """How a task is fine-tuned; the defaults are the course's for `vit_micro`."""

    steps: int = 20  # gradient steps
    lr: float = 10.0  # learning rate, constant; Adam's would be about 0.03
    optimiser: str = "sgd"  # "sgd", Euler's method on the gradient flow, or "adam"
    views: int = 1  # augmented copies of the support that a step's gradient averages over
    perturbed: float = 0.0  # share of the recorded tasks that start beside theta0
    tf32: bool = False  # on a GPU: 10 bits of mantissa, see results/precision.md

    def __post_init__(self) -> None:
        choose(RULES, self.optimiser)
        if min(self.steps, self.views) < 1 or self.lr <= 0 or not 0 <= self.perturbed <= 1:
            words = "steps and views must be >= 1 and lr > 0, perturbed is a share"
            raise ConfigError(f"{words}; got {self}")


@dataclass(frozen=True, eq=False)
class Supports:
    """The support sets of several tasks, ragged, laid end to end.

    Args:
        task: which task each image belongs to.
        n_way: the number of classes of each task; stays on the CPU.
    """

    images: Float[Tensor, " n 3 h w"]
    labels: Int[Tensor, " n"]
    task: Int[Tensor, " n"]
    n_way: Int[Tensor, " tasks"]

    @classmethod
    def join(cls, supports: Sequence[LabelledImages]) -> "Supports":
        """Several tasks as one batch."""
        for support in supports:
            support.require()
        sizes = torch.tensor([len(s.labels) for s in supports])
        return cls(
            torch.cat([s.images for s in supports]),
            torch.cat([s.labels for s in supports]),
            torch.repeat_interleave(torch.arange(len(supports)), sizes),
            torch.tensor([s.n_way for s in supports]),
        )

    def to(self, device: torch.device | str) -> "Supports":
        parts = self.images, self.labels, self.task
        return Supports(*(x.to(device) for x in parts), self.n_way)


def losses(
    target: Target,
    theta: Float[Tensor, " tasks params"],
    supports: Supports,
    views: Float[Tensor, " copies n 3 h w"],
) -> Float[Tensor, " tasks"]:
    """Mean cross-entropy of every task, averaged over augmented copies of its support.

    Every image of a copy is compared with the class means of the *other* images of that copy.

    Source: P>M>F (arXiv:2204.07305, section 3.3) compares an augmented copy with prototypes of
    the plain images, two passes a step; leaving one out needs one and is ours, the two were
    not compared.
    """
    copies, tasks = len(views), len(theta)
    task = supports.task.repeat(copies)
    features = target.features(theta, views.flatten(0, 1), task)
    copy = torch.arange(copies, device=task.device).repeat_interleave(len(supports.task))
    each = leave_one_out(
        features,
        supports.labels.repeat(copies),
        task + tasks * copy,
        supports.n_way.repeat(copies),
        target.logit_scale,
    )
    columns = torch.stack([each, torch.ones_like(each)])
    sums = each.new_zeros(2, tasks).index_add(1, task, columns)
    return sums[0] / sums[1]


def sgd(gradient: Tensor, state: dict[str, Tensor | int]) -> Tensor:  # noqa: ARG001
    """Plain gradient descent: Euler's method on the gradient flow."""
    return gradient


def adam(gradient: Tensor, state: dict[str, Tensor | int]) -> Tensor:
    """Adam's step for every task by itself (beta 0.9 and 0.999, eps 1e-8)."""
    state["k"] = k = state.get("k", 0) + 1
    state["m"] = m = 0.9 * state.get("m", 0) + 0.1 * gradient
    state["v"] = v = 0.999 * state.get("v", 0) + 0.001 * gradient.square()
    return (m / (1 - 0.9**k)) / ((v / (1 - 0.999**k)).sqrt() + 1e-8)


RULES = {"adam": adam, "sgd": sgd}


def fine_tune(
    target: Target,
    supports: Supports,
    config: TeacherConfig,
    generators: Sequence[torch.Generator],
    *,
    starts: Float[Tensor, " tasks params"] | None = None,
) -> Iterator[tuple[Float[Tensor, " tasks params"], Float[Tensor, " tasks"]]]:
    """Yield (theta, support loss at theta) before the first step and after each one.

    Args:
        generators: one random stream per task, for its augmented views, so that a task's
            trajectory does not depend on the tasks beside it.
        starts: None: every task begins at theta0.
    """
    rule = choose(RULES, config.optimiser)
    sizes = torch.bincount(supports.task.cpu()).tolist()
    supports = supports.to(target.device)
    theta = (target.theta0.expand(len(sizes), -1) if starts is None else starts).clone()
    state: dict[str, Tensor | int] = {}
    for step in range(config.steps + 1):
        views = draw_views(supports, sizes, config.views, generators)
        leaf = theta.detach().requires_grad_()
        with torch.set_grad_enabled(step < config.steps):
            loss = losses(target, leaf, supports, views)
        yield theta, loss.detach()
        if step < config.steps:
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            theta = theta - config.lr * rule(gradient, state)


def draw_views(
    supports: Supports, sizes: list[int], copies: int, generators: Sequence[torch.Generator]
) -> Float[Tensor, " copies n 3 h w"]:
    """Augmented copies of every support image, each task from its own stream."""
    tasks = zip(sizes, generators, strict=True)
    parts = [torch.stack([augment.draw(n, g) for _ in range(copies)], 1) for n, g in tasks]
    numbers = torch.cat(parts, 2).flatten(1)
    images = supports.images.repeat(copies, 1, 1, 1)
    return augment.changed(images, numbers).unflatten(0, (copies, -1))
