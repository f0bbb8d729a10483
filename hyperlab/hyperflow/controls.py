"""Controls: adaptation that knows less than it seems to. A gain counts if it is above all of these.

The mean displacement ignores the support set; the nearest domain's is a look-up table; the own
domain's knows the answer to "which domain", which no method has; the wrong support and the random
direction have the right length and no information. A control that would be its method by
construction is refused.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError, stream
from ..models import belonging
from ..models.targets import Target
from ..tasks.episodes import LabelledImages
from .adapt import Wrapper
from .context import encode
from .trajectories import Trajectories


class _OfOneTarget:
    """What was recorded of a target, `made_for` as `belonging.described` has it; "": not known."""

    def view(self, target: Target) -> Target:
        belonging.require(target, self.made_for, f"the {self.name}")
        return target


@dataclass(frozen=True, kw_only=True)
class Displacement(_OfOneTarget):
    """The same step for every task, theta0 + delta: the control that ignores the support set."""

    delta: Float[Tensor, " params"]
    name: str = "mean displacement"
    made_for: str = ""

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        if len(self.delta) != len(target.theta0):
            raise ConfigError(
                f"the displacement has {len(self.delta)} numbers, the target moves "
                f"{len(target.theta0)}"
            )
        support.require()
        self.view(target)
        return target.theta0 + self.delta.to(target.theta0)


@dataclass(frozen=True, eq=False)
class NearestDomain(_OfOneTarget):
    """The mean displacement of the training domain that the support set resembles most.

    The control that a drift network must beat: a look-up table of domains.

    Args:
        centres: mean context of every training domain.
        deltas: mean displacement of every training domain.
        spread: unit of each context number.
    """

    centres: Float[Tensor, " domains inputs"]
    deltas: Float[Tensor, " domains params"]
    spread: Float[Tensor, " inputs"]
    name: str = "nearest domain's mean"
    made_for: str = ""

    @classmethod
    def fit(cls, data: Trajectories) -> "NearestDomain":
        """From recorded tasks.

        Raises:
            ConfigError: they are of one domain: its mean is the mean displacement of all.
        """
        summaries = data.contexts.summary
        present = data.domain.unique().tolist()
        if len(present) < 2:
            raise ConfigError(
                f"the nearest of {len(present)} domains is no choice: record trajectories of "
                "two or more, or leave the control out"
            )
        centres, deltas = (
            torch.stack([x[data.domain == d].mean(0) for d in present])
            for x in (summaries, data.displacement)
        )
        spread = summaries.std(0).clamp(min=1e-6)
        return cls(centres, deltas, spread, made_for=data.target)

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        summary = encode(target, support).summary
        distance = ((self.centres - summary) / self.spread).square().sum(1)
        nearest = self.deltas[distance.argmin()]
        return Displacement(delta=nearest, made_for=self.made_for)(target, support)


@dataclass(frozen=True, kw_only=True)
class OwnDomain(_OfOneTarget):
    """The mean displacement of other tasks of the very domain, fine-tuned for the purpose.

    What there is to gain from knowing the domain and nothing of the task. In a small domain the
    other tasks may share images with the one at hand, which makes the control stronger.

    Args:
        deltas: name of a domain -> mean displacement of some of its other tasks.
        domain: of the task at hand; the evaluation fills it in.
    """

    deltas: Mapping[str, Float[Tensor, " params"]] = field(repr=False)
    domain: str = ""
    made_for: str = ""
    name: str = "own domain's mean"

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        if self.domain not in self.deltas:
            raise ConfigError(
                f"no mean displacement of domain {self.domain!r}; have {sorted(self.deltas)}"
            )
        own = Displacement(delta=self.deltas[self.domain], made_for=self.made_for)
        return own(target, support)


@dataclass(frozen=True, kw_only=True)
class WrongSupport(Wrapper):
    """Another method, given the support set of another task, with other classes.

    The control that shows whether the support set is used at all. The evaluation fills in the
    support set, of another domain where there is one (`evaluation.trials.lenders`).

    Raises:
        ConfigError: no support set, or one with an image of the task's own.
    """

    support: LabelledImages | None = None
    name: str = "wrong support"

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        support.require()
        if self.support is None:
            raise ConfigError("WrongSupport needs the support set of another task")
        if n := n_shared(self.support, support):
            raise ConfigError(
                f"the wrong support set holds {n} of the task's own images, so the control "
                "knows something; give WrongSupport another task's"
            )
        return self.method(target, self.support)


@dataclass(frozen=True, kw_only=True)
class RandomDirection(Wrapper):
    """A random direction as long as another method's displacement, token by token.

    The direction depends on the images and the seed alone, so a task always gets the same one.

    Args:
        token_size: numbers of theta that belong together, two or more; divides its length.

    Raises:
        ConfigError: tokens of one number have one direction; or the method moved nothing.
    """

    token_size: int
    seed: int = 0
    name: str = "random direction"

    def __post_init__(self) -> None:
        if self.token_size < 2:
            raise ConfigError(f"a token of {self.token_size} number has no other direction")

    def __call__(self, target: Target, support: LabelledImages) -> Float[Tensor, " params"]:
        moved = self.method(target, support) - target.theta0
        if len(moved) % self.token_size:
            raise ConfigError(f"{len(moved)} numbers are no multiple of {self.token_size}")
        if not moved.any():
            raise ConfigError(
                f"{self.method.name} moves nothing, and a random direction of length 0 is the "
                "same point; leave the control out"
            )
        images = support.images.cpu().contiguous().numpy().tobytes()
        generator = stream(self.seed, "random direction", zlib.crc32(images))
        noise = torch.randn(len(moved), generator=generator).to(moved)
        tokens, lengths = (x.unflatten(0, (-1, self.token_size)) for x in (noise, moved))
        turned = torch.nn.functional.normalize(tokens, dim=1)
        return target.theta0 + (turned * lengths.norm(dim=1, keepdim=True)).flatten()


def n_shared(one: LabelledImages, other: LabelledImages) -> int:
    """How many different images two sets have in common."""
    a, b = ({x.cpu().numpy().tobytes() for x in part.images} for part in (one, other))
    return len(a & b)
