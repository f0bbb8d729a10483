"""What the drift network sees of a support set: one frozen forward pass, nothing else.

For every image: the features of every block of the pre-trained target, its own class mean, and the
residual r_i = -d(head loss)/d(feature_i) of the prototype head. The head is a formula (cosine,
softmax), so r_i is a formula of the features; nothing is differentiated through the backbone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError
from ..models.targets import LOGIT_SCALE, Target, prototypes
from ..tasks.episodes import LabelledImages

Index = int | slice | Tensor | tuple | None


@dataclass(frozen=True, eq=False)
class Context:
    """One support set, or several padded to the same number of images.

    Args:
        features: of every image, at the pre-trained parameters.
        residual: where the head's loss wants each image's feature to go.
        labels: class of each image in its own task; -1 marks padding.
    """

    features: Float[Tensor, "*batch images inputs"]
    residual: Float[Tensor, "*batch images dim"]
    labels: Int[Tensor, "*batch images"]

    def to(self, device: torch.device | str) -> "Context":
        return Context(*(x.to(device) for x in (self.features, self.residual, self.labels)))

    def __getitem__(self, rows: Index) -> "Context":
        """As of tensors: one or some of several contexts, or [None] for a batch of one."""
        return Context(self.features[rows], self.residual[rows], self.labels[rows])

    @property
    def summary(self) -> Float[Tensor, "*batch inputs"]:
        """The mean feature over the images: where the task lies among the tasks."""
        present = (self.labels >= 0)[..., None]
        return (self.features.float() * present).sum(-2) / present.sum(-2)


def encode(target: Target, support: LabelledImages, *, chunk: int | None = None) -> Context:
    """The context of one support set, by one forward pass of the frozen target.

    Args:
        chunk: images in memory at a time; None: all.
    """
    return encode_all(target, [support], chunk=chunk)[0]


def encode_all(
    target: Target, supports: Sequence[LabelledImages], *, chunk: int | None = None
) -> list[Context]:
    """The contexts of several support sets, whose images go through the target together."""
    for support in supports:
        support.require()
    images = torch.cat([support.images for support in supports])
    pairs = [target.block_features(part) for part in images.split(chunk or len(images))]
    sizes = [len(support.labels) for support in supports]
    blocks, last = (torch.cat(column).split(sizes) for column in zip(*pairs, strict=True))
    labels = [support.labels.to(target.device) for support in supports]
    parts = zip(blocks, last, labels, strict=True)
    return [assemble(*part, target.logit_scale) for part in parts]


def assemble(
    blocks: Float[Tensor, " n depth 2 dim"],
    last: Float[Tensor, " n dim"],
    labels: Int[Tensor, " n"],
    scale: float = LOGIT_SCALE,
) -> Context:
    """The context that `Target.block_features` gives: with class means and the head's residual."""
    centres = prototypes(last, labels, int(labels.max()) + 1)
    features = torch.cat([blocks.flatten(1), last, centres[labels]], 1)
    return Context(features, head_residual(last, labels, scale), labels)


def pad(contexts: Sequence[Context], n_images: int | None = None) -> Context:
    """Several contexts as one batch, filled up with absent images."""
    longest = max(len(c.labels) for c in contexts)
    n = n_images or longest
    if longest > n:
        raise ConfigError(f"a support set has {longest} images, there is room for {n}")

    def filled(name: str, value: int) -> Tensor:
        parts = [getattr(c, name) for c in contexts]
        behind = (0, 0) * (parts[0].ndim - 1)
        return torch.stack([F.pad(x, (*behind, 0, n - len(x)), value=value) for x in parts])

    return Context(filled("features", 0), filled("residual", 0), filled("labels", -1))


def origin(
    features: Float[Tensor, "*batch inputs"], dim: int
) -> Float[Tensor, "*batch dim"]:
    """The part of a context's features that the head sees: the feature at theta0."""
    return features[..., -2 * dim : -dim]


def head_residual(
    features: Float[Tensor, "*batch n dim"],
    labels: Int[Tensor, "*batch n"],
    scale: float = LOGIT_SCALE,
) -> Float[Tensor, "*batch n dim"]:
    """r_i = -d(sum of losses)/d(f_i), the loss of i being leave-one-out prototype cross-entropy.

    A formula, with no autograd in it. With u_i the unit feature, C_k the unit sum of class k, O_i
    the unit sum of the others of i's class, p the softmax of scale * cosine:

        d/du_i = sum_{k != y} p_ik C_k + (p_iy - 1) O_i
        d/dC_k = sum_{i not in k} p_ik u_i
        d/dO_i = (p_iy - 1) u_i

    and every unit vector x / |x| passes a gradient g on as (g - <g, x> x) / |x|. An image alone in
    its class has no O_i; padding (label -1) has no residual.
    """
    names = torch.arange(int(labels.max()) + 1, device=labels.device)
    own = (labels[..., None] == names).to(features)
    there = (labels >= 0).to(features)[..., None]
    sums, sizes = own.mT @ features, own.sum(-2)
    u, centres, others = (_Unit.of(x) for x in (features, sums, own @ sums - features))
    alone = (own @ sizes[..., None])[..., 0] == 1
    own_class = (u.x * others.x).sum(-1).masked_fill(alone, 1.0)[..., None]
    logits = torch.where(own > 0, own_class, u.x @ centres.x.mT)
    absent = (sizes == 0)[..., None, :]
    p = (scale * logits).masked_fill(absent, float("-inf")).softmax(-1)
    lack = ((p * own).sum(-1) - 1).masked_fill(alone, 0.0)[..., None]
    p = p * (1 - own) * there
    away = others.back(lack * u.x)
    shared = own @ (centres.back(p.mT @ u.x) + own.mT @ away)
    gradient = u.back(p @ centres.x + lack * others.x) + shared - away
    return -scale * gradient * there


class _Unit(NamedTuple):
    """x / |x|, and how a gradient with respect to it becomes one with respect to x."""

    x: Tensor
    norm: Tensor

    @classmethod
    def of(cls, x: Float[Tensor, "*batch dim"]) -> "_Unit":
        norm = x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        return cls(x / norm, norm)

    def back(self, gradient: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        along = (gradient * self.x).sum(-1, keepdim=True)
        return (gradient - along * self.x) / self.norm
