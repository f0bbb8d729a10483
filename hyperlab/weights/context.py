"""What a generator is told of a data set: some labelled images of it, as one vector."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from ..base import PRETRAINED, ConfigError
from ..models import belonging, targets
from ..models.targets import Target, prototypes
from ..tasks.domains import Domain
from ..tasks.episodes import LabelledImages
from . import sets
from .sets import Pool, SetEncoder

SHIPPED = PRETRAINED / "context.safetensors"
CHUNK = 500  # images of a pass through the frozen encoder
MOST = 4_000  # images of a domain that the set encoder is trained on


class ContextEncoder:
    """Labelled images -> one vector, in two parts: `read` may be kept, `embed` is cheap.

    The order of the images changes nothing; the order of the classes does.
    """

    def __call__(self, support: LabelledImages) -> Float[Tensor, " c"]:
        """The vector of a support set.

        Raises:
            ConfigError: the set is unsound, see `LabelledImages.require`.
        """
        support.require()
        return self.embed(self.read(support.images), support.labels, support.n_way)

    def read(self, images: Float[Tensor, " n 3 h w"]) -> Float[Tensor, " n dim"]:
        """What is known of each image by itself.

        Args:
            images: in [0, 1].
        """
        raise NotImplementedError

    def embed(
        self, features: Float[Tensor, " n dim"], labels: Int64[Tensor, " n"], n_classes: int
    ) -> Float[Tensor, " c"]:
        """The vector of a set of images that were read."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class MeanFeatures(ContextEncoder):
    """The mean feature of every class, concatenated in the order of the labels."""

    target: Target

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        theta, parts = self.target.theta0, images.split(CHUNK)
        found = torch.cat([self.target.features(theta, part) for part in parts])
        return F.layer_norm(found, found.shape[1:])

    def embed(self, features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        require_every_class(labels, n_classes)
        return prototypes(features, labels, n_classes).flatten()


@dataclass(frozen=True, eq=False)
class Caml(MeanFeatures):
    """The set encoder's output tokens, averaged per class, in the order of the labels.

    Every image of the set is asked once, its label unknown. (FLoWN asks one image of every class,
    drawn at random: then the vector depends on the draw.)

    Raises:
        ConfigError: the set encoder was trained on the features of another backbone.

    Source: FLoWN, arXiv:2503.19371, section A.4.2.
    """

    net: SetEncoder

    def __post_init__(self) -> None:
        belonging.require(self.target, self.net.target, "this set encoder")

    @torch.no_grad()
    def embed(self, features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        require_every_class(labels, n_classes)
        if n_classes > (most := self.net.config.n_classes):
            raise ConfigError(
                f"this set encoder knows up to {most} classes, got {n_classes}; train one for "
                "more: python data_scripts/train_context.py --n-classes"
            )
        tokens = self.net(features[None], labels[None], features[None])[0]
        return prototypes(tokens, labels, n_classes).flatten()


@dataclass(frozen=True)
class DatasetId(ContextEncoder):
    """A one-hot number of the data set: no image is looked at, somebody has to know it."""

    index: int
    n: int  # data sets

    def __post_init__(self) -> None:
        if self.n < 2 or not 0 <= self.index < self.n:
            raise ConfigError(
                f"want one of two or more data sets 0 to {self.n - 1}: {self.index}; the number "
                "of the only one tells nothing"
            )

    def read(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), 0)

    def embed(self, features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        require_every_class(labels, n_classes)
        return F.one_hot(torch.tensor(self.index), self.n).float()


@cache
def shipped() -> Caml:
    """The context encoder that comes with the package: `vit_micro` and ten classes at most.

    Raises:
        DataMissingError: its file is not there.
    """
    return Caml(targets.load(), sets.load(SHIPPED))


# Kind -> the encoder for data set i of n.
KINDS = MappingProxyType[str, Callable[[int, int], ContextEncoder]](
    {
        "caml": lambda _i, _n: shipped(),
        "means": lambda _i, _n: MeanFeatures(shipped().target),
        "one-hot": DatasetId,
    }
)


def require_every_class(labels: Int64[Tensor, " n"], n_classes: int) -> None:
    """An error that names the classes without images, or the labels that are no class.

    Raises:
        ConfigError: so.
    """
    found = set(labels.tolist())
    if found != set(range(n_classes)):
        lacking = sorted(set(range(n_classes)) - found)
        foreign = sorted(found - set(range(n_classes)))
        raise ConfigError(
            f"a support set of {n_classes} classes has labels 0 to {n_classes - 1}, each at "
            f"least once; lacking: {lacking}, foreign: {foreign}"
        )


def draw_rows(
    labels: Int64[Tensor, " n"], n_classes: int, n_shot: int, generator: torch.Generator
) -> Int64[Tensor, " some"]:
    """Rows of random images, `n_shot` of every class, or all where there are fewer."""
    require_every_class(labels, n_classes)
    order = torch.randperm(len(labels), generator=generator)
    classes = [order[labels[order] == c][:n_shot] for c in range(n_classes)]
    return torch.cat(classes)


def draw_contexts(
    encoder: ContextEncoder,
    pool: LabelledImages,
    n: int,
    *,
    n_shot: int,
    generator: torch.Generator,
) -> Float[Tensor, " n c"]:
    """The vectors of `n` random support sets; every image of the pool is read once."""
    pool.require()
    features = encoder.read(pool.images)
    found = []
    for _ in range(n):
        rows = draw_rows(pool.labels, pool.n_way, n_shot, generator)
        found.append(encoder.embed(features[rows], pool.labels[rows], pool.n_way))
    return torch.stack(found)


def draw_support(
    pool: LabelledImages, n_shot: int, generator: torch.Generator
) -> LabelledImages:
    """A random support set of the pool."""
    rows = draw_rows(pool.labels, pool.n_way, n_shot, generator)
    return replace(pool, images=pool.images[rows], labels=pool.labels[rows])


def pool_of(encoder: ContextEncoder, domain: Domain, *, most: int = MOST) -> Pool:
    """Features and labels of a domain's first classes, up to so many images."""
    rows = torch.cat(domain.members)[:most]
    parts = [encoder.read(domain.batch(some)) for some in rows.split(CHUNK)]
    return torch.cat(parts), domain.labels[rows]
