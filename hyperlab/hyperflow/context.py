"""What the drift network sees of a support set: one frozen forward pass, nothing else.

For every image: the features of every block of the pre-trained target, its own class mean, and the
residual r_i = -d(head loss)/d(feature_i) of the prototype head. The head is a formula (cosine,
softmax), so r_i is a formula of the features; nothing is differentiated through the backbone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError
from ..models.targets import Target, leave_one_out_loss, prototypes
from ..tasks.episodes import LabelledImages


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
        return type(self)(
            *(x.to(device) for x in (self.features, self.residual, self.labels))
        )

    @property
    def summary(self) -> Float[Tensor, "*batch inputs"]:
        """The mean feature over the images: where the task lies among the tasks."""
        present = (self.labels >= 0)[..., None]
        return (self.features.float() * present).sum(-2) / present.sum(-2)


def encode(target: Target, support: LabelledImages) -> Context:
    """The context of one support set, by one forward pass of the frozen target."""
    blocks, last = target.block_features(support.images)
    labels = support.labels.to(last.device)
    centres = prototypes(last, labels, support.n_way)
    residual = head_residual(last, labels, support.n_way, target.logit_scale)
    return Context(
        torch.cat([blocks.flatten(1), last, centres[labels]], 1), residual, labels
    )


def pad(contexts: Sequence[Context], n_images: int | None = None) -> Context:
    """Several contexts as one batch, filled up with absent images.

    Raises:
        ConfigError: a support set has more than `n_images` images.
    """
    longest = max(len(c.labels) for c in contexts)
    n = n_images or longest
    if longest > n:
        raise ConfigError(f"a support set has {longest} images, there is room for {n}")

    def filled(x: Tensor, value: int) -> Tensor:
        return F.pad(x, (0, 0) * (x.ndim - 1) + (0, n - len(x)), value=value)

    return Context(
        torch.stack([filled(c.features, 0) for c in contexts]),
        torch.stack([filled(c.residual, 0) for c in contexts]),
        torch.stack([filled(c.labels, -1) for c in contexts]),
    )


def head_residual(
    features: Float[Tensor, " n dim"], labels: Int[Tensor, " n"], n_way: int, scale: float
) -> Float[Tensor, " n dim"]:
    """r_i = -n d(loss)/d(f_i): the loss is leave-one-out prototype cross-entropy, averaged over i.

    An image is compared with the mean of the *other* images of its class, or its own feature
    would answer the question; an image alone in its class is left out of the loss.
    """
    leaf = features.detach().requires_grad_()
    with torch.enable_grad():
        loss = leave_one_out_loss(leaf, labels, n_way, scale)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return -len(labels) * gradient
