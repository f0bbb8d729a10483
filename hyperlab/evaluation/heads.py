"""What few-shot heads do on the frozen features of tasks, their classes apart."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError
from ..hyperflow.controls import n_shared
from ..models.targets import LOGIT_SCALE, Target
from ..tasks.episodes import LabelledImages
from ..weights import heads
from ..weights.head_generators import HeadGenerator
from ..weights.heads import BaseConfig, Whitening, head_logits, tell
from . import methods
from .experiments import Trial

# scikit-learn's, on features of length 10. Validation, C = 0.1, 1, 10: 56.5, 56.3, 56.2 % with one
# shot and 71.1, 72.3, 72.6 % with five: the best lies at either edge, 1 between them.
RIDGE_C = 1.0
REGRESSION = "logistic regression"
Accuracies = dict[str, Float[Tensor, " tasks"]]


class Seen(NamedTuple):
    """The frozen features of many tasks, classes apart."""

    support: Float[Tensor, " tasks way shots dim"]
    query: Float[Tensor, " tasks way n dim"]
    other: Float[Tensor, " tasks way shots dim"]  # support of another domain's task


def by_class(
    features: Float[Tensor, " n dim"], images: LabelledImages
) -> Float[Tensor, " way k dim"]:
    """The features of a task's images, classes apart.

    Raises:
        ConfigError: the classes have different numbers of images.
    """
    counts = torch.bincount(images.labels, minlength=images.n_way)
    if len(counts.unique()) > 1:
        raise ConfigError(
            f"heads want as many images of every class, got {counts.tolist()}"
        )
    order = images.labels.argsort(stable=True)
    return features[order.to(features.device)].unflatten(0, (images.n_way, -1)).cpu()


@torch.no_grad()
def look(target: Target, images: LabelledImages) -> Float[Tensor, " way k dim"]:
    """The same, from the images; ConfigError as `LabelledImages.require` raises."""
    images.require("task")
    return by_class(target.features(target.theta0, images.images), images)


def see(target: Target, trials: Iterable[Trial]) -> Seen:
    """The features of all images of some tasks.

    Raises:
        ConfigError: a task whose wrong support set holds images of its own.
    """
    trials = list(trials)
    for t in trials:
        if n := n_shared(t.other.support, t.episode.support):
            raise ConfigError(
                f"{t.domain}, task {t.number}: of its wrong support each of {n} images is its "
                "own; give another task's"
            )
    rows = [
        [look(target, x) for x in (t.episode.support, t.episode.query, t.other.support)]
        for t in trials
    ]
    return Seen(*map(torch.stack, zip(*rows, strict=True)))


def correct(
    logits: Float[Tensor, "*some way n classes"],
) -> Float[Tensor, "*some"]:
    """The share of images whose own class has the largest logit."""
    own = torch.arange(logits.shape[-3], device=logits.device)[:, None]
    return (logits.argmax(-1) == own).float().mean((-1, -2))


def answers(
    drawn: Float[Tensor, "*#some way row"], features: Float[Tensor, "*#some way n dim"]
) -> Float[Tensor, "*all way n classes"]:
    """The logits of images that stand classes apart."""
    return head_logits(drawn, features.flatten(-3, -2)).unflatten(-2, features.shape[-3:-1])


def support_loss(
    drawn: Float[Tensor, "*#some way row"], support: Float[Tensor, "*#some way n dim"]
) -> Float[Tensor, "*all"]:
    """Mean cross-entropy of images that stand classes apart."""
    chances = answers(drawn, support).log_softmax(-1)
    return -chances.diagonal(0, -3, -1).mean((-1, -2))


def cosines(
    support: Float[Tensor, " tasks way shots dim"], query: Float[Tensor, " tasks way n dim"]
) -> Float[Tensor, " tasks"]:
    """Accuracy of the target's own head: the class mean of largest cosine."""
    centres = F.normalize(support.mean(2), dim=-1)
    unit = F.normalize(query, dim=-1)
    return correct(torch.einsum("twnd,tkd->twnk", unit, centres))


def unlearned(seen: Seen) -> Accuracies:
    """What needs no base task: class means under the cosine, and logistic regression."""
    pairs = zip(seen.support, seen.query, strict=True)
    return {
        methods.BASELINE: cosines(seen.support, seen.query),
        REGRESSION: torch.tensor([regression(*pair) for pair in pairs]),
    }


def regression(
    support: Float[Tensor, " way shots dim"], query: Float[Tensor, " way n dim"]
) -> float:
    """Accuracy of scikit-learn's logistic regression on features of length 10."""
    x, q = (
        (LOGIT_SCALE * F.normalize(part, dim=-1)).flatten(0, 1) for part in (support, query)
    )
    y, named = (
        torch.arange(len(part)).repeat_interleave(part.shape[1])
        for part in (support, query)
    )
    model = LogisticRegression(C=RIDGE_C, max_iter=500).fit(x.numpy(), y.numpy())
    return float(model.score(q.numpy(), named.numpy()))


def whitened(seen: Seen, whiten: Whitening, config: BaseConfig) -> Accuracies:
    """What needs of base tasks no more than their covariance."""
    support, query = whiten(seen.support), whiten(seen.query)
    start = tell(support, config)[1]
    return {
        "whitened means": correct(answers(heads.mean_heads(support), query)),
        f"whitened {REGRESSION}": correct(answers(start, query)),
    }


def sampled(
    head_generator: HeadGenerator,
    seen: Seen,
    n: int,
    top: int,
    steps: int,
    *,
    generator: torch.Generator,
) -> Accuracies:
    """What n heads of a generator do: each by itself, chosen ones, and their mean.

    The mean of the heads is the ensemble: logits are linear in them. `chosen` has the smallest
    cross-entropy on the support; `chosen by queries` is what the paper reports, and no method.

    Args:
        steps: of the solver, or of the diffusion.
    """
    options = {"steps": steps, "generator": generator}
    drawn = head_generator.sample(seen.support, n, **options)
    support, query = (head_generator.whiten(part)[:, None] for part in seen[:2])
    each = correct(answers(drawn, query))
    best = support_loss(drawn, support).argsort(1)[:, :top]
    wrong = head_generator.sample(seen.support, n, about=seen.other, **options)

    def mean(rows: Tensor) -> Tensor:
        return correct(answers(rows.mean(1, keepdim=True), query))[:, 0]

    return {
        "all samples": each.mean(1),
        f"{top} chosen": each.gather(1, best).mean(1),
        "mean head": mean(drawn),
        f"{top} chosen by queries": each.topk(top).values.mean(1),
        "wrong support": mean(wrong),
    }
