"""Are generated networks good, and are they new? Accuracy, and what they share with others.

Two networks that fail on the same images are alike whatever their weights; two that are near in
weight space, after alignment, are alike by construction. Both are measured, and the training
networks are measured in the same way, each against the others: that is the row to compare with.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError
from ..models.cnn import Network
from .align import line
from .zoo import predict, require_networks

TOP = 5  # networks that validation selects
TOGETHER = 10  # networks of an ensemble
BLOCK = 200  # images that an ensemble sees at once

Labelled = tuple[Tensor, Tensor]  # images n x c x h x w, and labels n
Rows, Images = Float[Tensor, " n params"], Float[Tensor, " images c h w"]
Wrong = Bool[Tensor, " n images"]  # whether each network is wrong on each image


def wrong_predictions(
    architecture: Network, w: Rows, images: Images, labels: Int64[Tensor, " images"]
) -> Wrong:
    """Whether each network is wrong on each image."""
    return predict(architecture, w, images) != labels


def iou(a: Wrong, b: Bool[Tensor, " m images"]) -> Float[Tensor, " n m"]:
    """|A and B| / |A or B| of the images on which each pair is wrong; 1 if neither ever is.

    Source: Wang et al. 2024, p-diff (arXiv:2402.13144), IoU of wrong predictions.
    """
    a, b = a.float(), b.float()
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1) - both
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def distances(w: Rows, others: Float[Tensor, " m params"]) -> Float[Tensor, " n m"]:
    """Euclidean, of each pair; exactly 0 for copies."""
    return torch.cdist(w, others, compute_mode="donot_use_mm_for_euclid_dist")


def cosine_distances(w: Rows, others: Float[Tensor, " m params"]) -> Float[Tensor, " n m"]:
    """1 - cos = |a / |a| - b / |b||^2 / 2, of each pair; exactly 0 for copies."""
    return distances(F.normalize(w), F.normalize(others)).square() / 2


DISTANCES = (distances, cosine_distances)


def without_self(pairs: Float[Tensor, " n n"]) -> Float[Tensor, " n others"]:
    """Every row without its entry on the diagonal."""
    n = len(pairs)
    return pairs.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def spread(w: Rows) -> float:
    """In how many directions a population varies: (sum l)^2 / sum l^2 of the variances l.

    At most n - 1 (the participation ratio); 0 if all networks are the same.
    """
    gram = (w - w.mean(0)) @ (w - w.mean(0)).T
    return float(gram.trace() ** 2 / gram.square().sum().clamp(min=1e-30))


def barriers(w: Rows, originals: "Originals", *, points: int = 5) -> Float[Tensor, " n"]:
    """Between each network and the nearest training network, on validation images, in nats.

    A copy, and whatever lies in the same valley, has none; two seeds have one (`align.line`).
    """
    nearest = distances(w, originals.train).argmin(1)
    ends = originals.train[nearest]
    return line(originals.architecture, w, ends, originals.val, points=points).barrier


@torch.no_grad()
def ensemble_accuracy(
    architecture: Network, w: Rows, images: Images, labels: Int64[Tensor, " images"]
) -> float:
    """Accuracy of the networks' mean probabilities."""
    parts = [architecture.logits(w, x).softmax(2).mean(0) for x in images.split(BLOCK)]
    return float((torch.cat(parts).argmax(1) == labels).float().mean())


@dataclass(frozen=True, eq=False)
class Originals:
    """The networks of a zoo, and the images that others are judged on.

    Args:
        train: the networks that a generator was fitted to, aligned to one reference.
        held_out: networks of the same zoo that it never saw, aligned to the same reference.
        val: images that select; test: images that are reported.
    """

    architecture: Network
    train: Rows
    held_out: Float[Tensor, " m length"]
    val: Labelled
    test: Labelled

    def __post_init__(self) -> None:
        for w, what, least in ((self.train, "training", 2), (self.held_out, "held-out", 1)):
            self.architecture.unflatten(w[:0])
            require_networks(w, what, least)
        if same := int((distances(self.held_out, self.train).amin(1) == 0).sum()):
            raise ConfigError(
                f"{same} held-out networks are among the training networks; split by seed, or "
                "take checkpoints that are far apart"
            )

    @cached_property
    def wrong(self) -> Wrong:
        """Of the training networks, on the test images."""
        return wrong_predictions(self.architecture, self.train, *self.test)

    @cached_property
    def reach(self) -> float:
        """What "far" means: the median held-out network's distance to the nearest of training."""
        return float(distances(self.held_out, self.train).amin(1).median())

    @cached_property
    def cosine_reach(self) -> float:
        """The same of cosine distances."""
        return float(cosine_distances(self.held_out, self.train).amin(1).median())


@dataclass(frozen=True, kw_only=True)
class Report:
    """One row of a table of generators.

    Accuracies and IoUs are on test images. What compares two networks of one population is NaN
    where there is only one.
    """

    n: int  # networks
    accuracy: float  # mean of all
    sd: float  # of the accuracies
    best: float  # accuracy, chosen with the test images: to be read as such
    chosen: float  # mean accuracy of the five best on validation images
    failures: int  # networks below twice the accuracy of chance
    max_iou: float  # largest with a training network, mean over networks
    iou: float  # mean with training networks (p-diff's g-o)
    iou_within: float  # mean with one another (p-diff's g-g)
    distance: float  # median to the nearest training network; 1: as far as held-out ones
    cosine: float  # the same of cosine distances
    apart: float  # mean distance of two of them, in the unit of `distance`
    spread: float  # participation ratio
    gain: float  # accuracy of ten together over the mean of the ten


def judge(w: Rows, originals: Originals) -> Report:
    """All there is to say of generated networks. Test images choose nothing but `best`.

    Source: Zeng et al. 2025 (arXiv:2506.07998), largest IoU with and distance to training
    networks.

    Args:
        w: aligned to the same reference as the training networks.
    """
    originals.architecture.unflatten(w[:0])
    require_networks(w, "generated")
    wrong = wrong_predictions(originals.architecture, w, *originals.test)
    pairs = (iou(wrong, originals.wrong), *(f(w, originals.train) for f in DISTANCES))
    return _report(w, originals, wrong, *pairs)


def judge_originals(originals: Originals) -> Report:
    """The same of the training networks: each is compared with the others, not with itself."""
    w, wrong = originals.train, originals.wrong
    pairs = map(without_self, (iou(wrong, wrong), *(f(w, w) for f in DISTANCES)))
    return _report(w, originals, wrong, *pairs)


def _report(
    w: Rows,
    originals: Originals,
    wrong: Wrong,
    alike: Float[Tensor, " n others"],
    far: Float[Tensor, " n others"],
    cosine: Float[Tensor, " n others"],
) -> Report:
    network = originals.architecture
    right = (~wrong).sum(1)
    accuracy = right / wrong.shape[1]
    val = (~wrong_predictions(network, w, *originals.val)).sum(1)
    chosen = val.topk(min(TOP, len(w))).indices
    together = ensemble_accuracy(network, w[:TOGETHER], *originals.test)
    return Report(
        n=len(w),
        accuracy=float(accuracy.mean()),
        sd=float(accuracy.std()) if len(w) > 1 else float("nan"),
        best=float(accuracy.max()),
        chosen=float(accuracy[chosen].mean()),
        failures=int((right * network.n_classes < 2 * wrong.shape[1]).sum()),
        max_iou=float(alike.amax(1).mean()),
        iou=float(alike.mean()),
        iou_within=_mean_within(iou(wrong, wrong)),
        distance=float(far.amin(1).median() / originals.reach),
        cosine=float(cosine.amin(1).median() / originals.cosine_reach),
        apart=_mean_within(distances(w, w)) / originals.reach,
        spread=spread(w),
        gain=together - float(accuracy[:TOGETHER].mean()),
    )


def _mean_within(pairs: Float[Tensor, " n n"]) -> float:
    return float(without_self(pairs).mean()) if len(pairs) > 1 else float("nan")
