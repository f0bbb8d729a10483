"""Are generated networks good, and are they new? Accuracy, and what they share with training networks.

Two networks that fail on the same images are alike whatever their weights; two that are near in
weight space, after alignment, are alike by construction. Both are measured.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..base import ConfigError
from ..models.cnn import Architecture
from .zoo import predict

TOP = 5  # networks that validation selects


def overlap(
    a: Bool[Tensor, " n images"], b: Bool[Tensor, " m images"]
) -> Float[Tensor, " n m"]:
    """|A and B| / |A or B| of the images on which each pair is wrong; 1 if neither ever is.

    Source: Wang et al. 2024, p-diff (arXiv:2402.13144), section 4, IoU of wrong predictions.
    """
    a, b = a.float(), b.float()
    both = a @ b.T
    either = a.sum(1)[:, None] + b.sum(1) - both
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def nearest(
    w: Float[Tensor, " n params"], others: Float[Tensor, " m params"]
) -> Float[Tensor, " n"]:
    """Euclidean distance of each network to the nearest of the others."""
    return torch.cdist(w, others, compute_mode="donot_use_mm_for_euclid_dist").amin(1)


def nearest_other(w: Float[Tensor, " n params"]) -> Float[Tensor, " n"]:
    """Distance of each network to the nearest other one of the same population."""
    distances = torch.cdist(w, w, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(torch.inf).amin(1)


def spread(w: Float[Tensor, " n params"]) -> float:
    """In how many directions a population varies: (sum l)^2 / sum l^2 of the variances l.

    At most n - 1 (the participation ratio).
    """
    gram = (w - w.mean(0)) @ (w - w.mean(0)).T
    return float(gram.trace() ** 2 / gram.square().sum().clamp(min=1e-30))


@dataclass(frozen=True, eq=False)
class Judge:
    """Knows the training networks, and the images that others are judged on.

    Args:
        train: the training networks, aligned.
        reach: median distance of a network that was held out to the nearest training network:
            what "far" means. NaN without such networks.
    """

    architecture: Architecture
    train: Float[Tensor, " n params"]
    val: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    reach: float
    wrong: Bool[Tensor, " n images"]

    @classmethod
    def of(
        cls,
        architecture: Architecture,
        train: Float[Tensor, " n params"],
        val: tuple[Tensor, Tensor],
        test: tuple[Tensor, Tensor],
        held_out: Float[Tensor, " m params"] | None = None,
    ) -> "Judge":
        """Prepare for one zoo.

        Raises:
            ConfigError: no training networks, or weights that are not finite.
        """
        if not len(train) or not train.isfinite().all():
            raise ConfigError(f"want training networks with finite weights: {train.shape}")
        far = (
            nearest(held_out, train) if held_out is not None else torch.tensor([torch.nan])
        )
        wrong = predict(architecture, train, test[0]) != test[1]
        return cls(architecture, train, val, test, float(far.median()), wrong)

    def report(self, w: Float[Tensor, " n params"]) -> "Report":
        """All there is to say of some networks. Test images choose nothing.

        Args:
            w: aligned to the same reference as the training networks.

        Raises:
            ConfigError: there are none.
        """
        if not len(w):
            raise ConfigError("want one or more networks to judge, got none")
        said = predict(self.architecture, w, self.test[0])
        wrong = said != self.test[1]
        accuracy = 1 - wrong.float().mean(1)
        val = (predict(self.architecture, w, self.val[0]) == self.val[1]).float().mean(1)
        chosen = val.topk(min(TOP, len(w))).indices
        shared = overlap(wrong, self.wrong)
        chance = 1 / self.architecture.n_classes
        return Report(
            n=len(w),
            accuracy=float(accuracy.mean()),
            sd=float(accuracy.std()) if len(w) > 1 else 0.0,
            best=float(accuracy.max()),
            chosen=float(accuracy[chosen].mean()),
            failures=int((accuracy < 2 * chance).sum()),
            overlap=float(shared.amax(1).mean()),
            distance=float(nearest(w, self.train).median()) / self.reach,
            spread=spread(w),
            vote=vote(said, self.test[1]) - float(accuracy.mean()),
        )


def vote(said: Int64[Tensor, " n images"], labels: Int64[Tensor, " images"]) -> float:
    """Accuracy of the majority of at most ten networks."""
    return float((said[:10].mode(0).values == labels).float().mean())


@dataclass(frozen=True, kw_only=True)
class Report:
    """One row of a table of generators; accuracies are on test images."""

    n: int  # networks
    accuracy: float  # mean of all
    sd: float  # of the accuracies
    best: float  # accuracy, chosen with the test images: to be read as such
    chosen: float  # mean accuracy of the five best on validation images
    failures: int  # networks below twice the accuracy of chance
    overlap: (
        float  # mean over networks of the largest IoU of errors with a training network
    )
    distance: float  # median to the nearest training network, 1: as far as held-out ones
    spread: float  # participation ratio
    vote: float  # gain of a vote of ten over their mean, accuracy


def familiar(wrong: Bool[Tensor, " n images"]) -> float:
    """The largest IoU of errors with another network of the same population, mean over networks.

    What `Report.overlap` would be for networks that are trained as the training set was.
    """
    return float(overlap(wrong, wrong).fill_diagonal_(-1).amax(1).mean())
