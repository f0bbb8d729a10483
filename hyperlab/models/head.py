"""The prototype head as formulas: class means, cosines, and the loss that leaves an image out."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError


def prototypes(
    features: Float[Tensor, " n dim"], labels: Int[Tensor, " n"], n_way: int
) -> Float[Tensor, " way dim"]:
    """The mean feature of every class."""
    one_hot = F.one_hot(labels.to(features.device), n_way).to(features)
    return (one_hot / one_hot.sum(0)).T @ features


def cosine(
    x: Float[Tensor, " n dim"], y: Float[Tensor, " way dim"]
) -> Float[Tensor, " n way"]:
    return F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).T


def largest(scores: Float[Tensor, " n way"]) -> Int[Tensor, " n"]:
    """The class of largest score of every image.

    Raises:
        ConfigError: scores that are not finite name no class: theta has diverged.
    """
    if lost := int((~scores.isfinite().all(1)).sum()):
        raise ConfigError(
            f"scores of {lost} of {len(scores)} queries are not finite: the adaptation has "
            "diverged; take a smaller learning rate, fewer steps or a shorter flow"
        )
    return scores.argmax(1)


def leave_one_out(
    features: Float[Tensor, " n dim"],
    labels: Int[Tensor, " n"],
    task: Int[Tensor, " n"],
    n_way: Int[Tensor, " tasks"],
    scale: float,
) -> Float[Tensor, " n"]:
    """Each image's prototype cross-entropy; no image helps to make its own prototype.

    Several tasks lie end to end; an image meets the prototypes of its own task only. An image
    that is alone in its class has itself as prototype (cosine 1): only the others push it away.
    """
    tasks, way = len(n_way), int(n_way.max())
    slot = task * way + labels
    sums = features.new_zeros(tasks * way, features.shape[1]).index_add(0, slot, features)
    sizes = features.new_zeros(tasks * way).index_add(0, slot, features.new_ones(len(slot)))
    alone = sizes[slot] == 1
    unit = F.normalize(features, dim=1)
    centres = F.normalize(sums, dim=1, eps=1e-6).view(tasks, way, -1)
    logits = torch.einsum("nd,nwd->nw", unit, centres[task])
    others = F.normalize(sums[slot] - features, dim=1, eps=1e-6)
    own = (others * unit).sum(1).masked_fill(alone, 1.0)
    logits = logits.scatter(1, labels[:, None], own[:, None])
    absent = torch.arange(way, device=task.device) >= n_way.to(task.device)[task, None]
    logits = (scale * logits).masked_fill(absent, float("-inf"))
    return F.cross_entropy(logits, labels, reduction="none")


def leave_one_out_loss(
    features: Float[Tensor, " n dim"], labels: Int[Tensor, " n"], n_way: int, scale: float
) -> Float[Tensor, ""]:
    """The mean of `leave_one_out` over the images of one task."""
    counts = torch.tensor([n_way], device=labels.device)
    return leave_one_out(features, labels, torch.zeros_like(labels), counts, scale).mean()
