"""Zoos, populations of small networks: what one is, how it is trained, what its networks say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count, islice, pairwise
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from ..base import ArtifactError, ConfigError, choose, differences, stream
from ..models.cnn import Architecture, Network
from ..models.own import OwnNetwork
from .recipes import RECIPES, Recipe, Splits, untrained

SCORES = ("accuracy", "val_accuracy", "loss")  # of every network at every epoch
# Networks x images of a pass without gradients: on a CPU what stays in its cache.
PASS = MappingProxyType({"cpu": (25, 50), "cuda": (250, 1_000)})
Rows, Images = Float[Tensor, " models params"], Float[Tensor, " n c h w"]


def require_networks(w: Float[Tensor, " n *params"], what: str, least: int = 1) -> None:
    """Raise ConfigError for fewer networks than wanted, or weights that are no finite numbers."""
    if len(w) < least:
        raise ConfigError(f"want {least} or more {what} networks, got {len(w)}")
    if not (finite := w.flatten(1).isfinite().all(1)).all():
        rows = (~finite).nonzero().flatten().tolist()
        raise ConfigError(
            f"{len(rows)} of {len(w)} {what} networks have weights that are no finite "
            f"numbers, rows {rows[:10]}; take them out and count them as failures"
        )


@dataclass(frozen=True, eq=False)
class Zoo:
    """Networks of one architecture at chosen epochs of their training.

    Args:
        epochs: of the second axis; for a single run's tail the number of the checkpoint.
        accuracy: on the test images; choices are made by `val_accuracy`.
        loss: mean cross-entropy on the validation images.
        checksums: of the images and labels that it was trained with, as `Splits` has them; None
            where they are the package's own.
    """

    architecture: Network
    w: Float[Tensor, " networks epochs params"]
    epochs: tuple[int, ...]
    seeds: tuple[int, ...]
    accuracy: Float[Tensor, " networks epochs"]
    val_accuracy: Float[Tensor, " networks epochs"]
    loss: Float[Tensor, " networks epochs"]
    dataset: str
    checksums: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        self.architecture.unflatten(self.w[:0])
        wanted = (len(self.seeds), len(self.epochs))
        for name in ("w", *SCORES):
            if (shape := tuple(getattr(self, name).shape[:2])) != wanted:
                raise ConfigError(
                    f"{name} is of {shape} networks and epochs, the zoo of {wanted}"
                )
        require_networks(self.w, "trained", least=0)

    def __len__(self) -> int:
        return len(self.w)

    def require(self, splits: Splits) -> None:
        """Raise ArtifactError, which names what differs, for other images than the networks'."""
        if self.checksums is None:
            return
        if differ := differences(self.checksums, splits.checksums, self.dataset):
            raise ArtifactError(
                "these networks were trained with something else than lies here "
                f"({'; '.join(differ)}); bring those images back, or train the zoo again"
            )

    def at_epoch(self, epoch: int) -> Float[Tensor, " networks params"]:
        """Every network at one epoch."""
        if epoch not in self.epochs:
            raise ConfigError(f"no epoch {epoch} in this zoo; have {list(self.epochs)}")
        return self.w[:, self.epochs.index(epoch)]

    def of(self, rows: Int64[Tensor, " rows"] | Bool[Tensor, " networks"]) -> "Zoo":
        """These of the networks."""
        taken = {name: getattr(self, name)[rows] for name in ("w", *SCORES)}
        seeds = tuple(torch.tensor(self.seeds)[rows].tolist())
        return replace(self, seeds=seeds, **taken)

    def split(
        self, fractions: Sequence[float], generator: torch.Generator
    ) -> tuple["Zoo", ...]:
        """Parts without a common seed: no network is in one part early and in another late."""
        seeds = torch.tensor(self.seeds)
        distinct = seeds.unique()
        order = distinct[torch.randperm(len(distinct), generator=generator)]
        ends = [round(sum(fractions[:k]) * len(order)) for k in range(len(fractions) + 1)]
        sizes = [end - start for start, end in pairwise(ends)]
        if min(sizes) < 1 or ends[-1] > len(order):
            raise ConfigError(
                f"{len(order)} seeds cannot be split {tuple(fractions)}: parts of {sizes}"
            )
        parts = order[: ends[-1]].split(sizes)
        return tuple(self.of(torch.isin(seeds, part)) for part in parts)


def _passes(
    net: Network, w: Tensor, images: Tensor
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Logits, a few networks and a few images at a time: memory stays small."""
    models, n = choose(PASS, w.device.type)
    for i in range(0, len(w), models):
        for j in range(0, len(images), n):
            rows, columns = slice(i, i + models), slice(j, j + n)
            yield rows, columns, net.logits(w[rows], images[columns])


@torch.no_grad()
def predict(architecture: Network, w: Rows, images: Images) -> Int64[Tensor, " models n"]:
    """The class that every network gives to every image."""
    classes = torch.empty(len(w), len(images), dtype=torch.int64, device=w.device)
    for rows, columns, logits in _passes(architecture, w, images):
        classes[rows, columns] = logits.argmax(2)
    return classes


def accuracies(
    architecture: Network, w: Rows, images: Images, labels: Int64[Tensor, " n"]
) -> Float[Tensor, " models"]:
    """The share of the images that each network classifies rightly."""
    return (predict(architecture, w, images) == labels).float().mean(1)


@torch.no_grad()
def score(
    architecture: Network, w: Rows, images: Images, labels: Int64[Tensor, " n"]
) -> tuple[Float[Tensor, " models"], Float[Tensor, " models"]]:
    """Accuracy and mean cross-entropy of each network."""
    right, loss = torch.zeros(2, len(w), device=w.device)
    for rows, columns, logits in _passes(architecture, w, images):
        logits = logits.transpose(1, 2)
        wanted = labels[columns].expand(len(logits), -1)
        right[rows] += (logits.argmax(1) == wanted).sum(1)
        loss[rows] += F.cross_entropy(logits, wanted, reduction="none").sum(1)
    return right / len(images), loss / len(images)


def scores(architecture: Network, w: Rows, splits: Splits) -> tuple[Tensor, ...]:
    """What a zoo knows of its networks, see `SCORES`."""
    right = accuracies(architecture, w, *splits.test)
    return right, *score(architecture, w, *splits.val)


@dataclass(frozen=True, kw_only=True)
class TailConfig:
    """The end of a run, where training goes on and every few steps are kept (p-diff's kind)."""

    n: int = 200  # checkpoints
    every: int = 10  # steps from one to the next
    lr: float = 1e-3  # constant; Adam's averages are kept


@dataclass(frozen=True, kw_only=True)
class ZooConfig:
    """Which networks are trained and what is kept; the defaults are the published zoos'."""

    recipe: Recipe
    n_networks: int = 1_000
    group: int = 25  # networks that are trained side by side and see the same batches
    epochs: tuple[int, ...] = tuple(range(51))  # that are kept; 0: untrained, last: the end
    batch: int = 10  # images a step
    n_train: int = 0  # images that are trained on; 0: all
    n_eval: int = 0  # most images for validation, and for test; 0: all
    seed: int = 0  # of the first network, the others follow
    tail: TailConfig | None = None  # kept instead of `epochs`

    def __post_init__(self) -> None:
        if min(self.n_networks, self.group, self.batch) < 1:
            raise ConfigError(f"n_networks, group and batch must be >= 1, got {self}")
        if sorted({*self.epochs}) != list(self.epochs) or min(self.epochs, default=-1) < 0:
            raise ConfigError(f"epochs must be >= 0 and increase, got {self.epochs}")
        if self.tail and min(self.tail.n, self.tail.every) < 1:
            raise ConfigError(f"a tail's n and every must be >= 1, got {self.tail}")

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the checkpoints: epochs, or those of the tail."""
        return tuple(range(1, self.tail.n + 1)) if self.tail else self.epochs

    def seeds(self, group: int) -> list[int]:
        """Of the networks of one group."""
        numbers = range(self.seed, self.seed + self.n_networks)
        return list(numbers[group * self.group : (group + 1) * self.group])

    @classmethod
    def at(cls, scale: str, name: str = "digits") -> "ZooConfig":
        """The recipe of that name, at a scale.

        Only "paper" has the published first weights and rates. From U(0, 1) tanh networks hardly
        start: with 6,000 images of MNIST they are right in 75 % after eight epochs at a rate of
        1e-2 and in 47 % after six at 3e-3, from Kaiming's weights in 93 %.
        """
        paper = cls(recipe=choose(RECIPES, name))
        own = replace(paper, recipe=replace(paper.recipe, init="kaiming_uniform", lr=1e-3))
        smoke = replace(own, n_networks=4, group=2, epochs=(0, 1, 2))
        smoke = replace(smoke, batch=20, n_train=400, n_eval=100)
        laptop = replace(own, n_networks=100, epochs=tuple(range(11)))
        laptop = replace(laptop, batch=16, n_train=8_000, n_eval=2_000)
        return choose({"smoke": smoke, "laptop": laptop, "paper": paper}, scale)


def train(
    config: ZooConfig,
    splits: Splits,
    seeds: Sequence[int],
    *,
    network: OwnNetwork | None = None,
) -> dict[str, Float[Tensor, " networks epochs *params"]]:
    """Train networks side by side: w, accuracy, val_accuracy and loss at what is kept.

    A network that diverges disturbs no other.

    Args:
        network: a reader's own, instead of the recipe's architecture and first weights.
    """
    network = network or config.recipe.network(splits.n_classes)
    if network.n_classes != splits.n_classes:
        raise ConfigError(
            f"{network.name} says {network.n_classes} classes, the images are of "
            f"{splits.n_classes}"
        )
    kept = [
        [x.cpu() for x in (w, *scores(network, w, splits))]
        for w in checkpoints(config, network, splits, seeds)
    ]
    columns = [torch.stack(column, 1) for column in zip(*kept, strict=True)]
    return dict(zip(("w", *SCORES), columns, strict=True))


def checkpoints(
    config: ZooConfig,
    network: Architecture | OwnNetwork,
    splits: Splits,
    seeds: Sequence[int],
    start: Float[Tensor, " networks params"] | None = None,
) -> Iterator[Float[Tensor, " networks params"]]:
    """The networks at every kept epoch, or every few steps of their tail; `start`: their rows."""
    recipe, tail, (images, labels) = config.recipe, config.tail, splits.train
    if start is None:
        first = (stream(seed, recipe.dataset, "init") for seed in seeds)
        start = torch.stack([untrained(network, recipe.init, g) for g in first])
    w = start.detach().clone().to(images.device).requires_grad_()
    decay = recipe.weight_decay
    optimiser = torch.optim.Adam([w], recipe.lr, weight_decay=decay, fused=True)

    def batches(epoch: int) -> Sequence[Tensor]:
        g = stream(seeds[0], recipe.dataset, "order", epoch)
        order = torch.randperm(len(labels), generator=g).to(labels.device)
        return order.split(config.batch)

    endless = chain.from_iterable(map(batches, count(1)))

    def go(n: int) -> None:
        for rows in islice(endless, n):
            step(network, w, optimiser, images[rows], labels[rows])

    per_epoch = -(-len(labels) // config.batch)
    gaps = [per_epoch * (b - a) for a, b in pairwise((0, *config.epochs))]
    if tail:
        go(sum(gaps))
        optimiser.param_groups[0]["lr"] = tail.lr
        gaps = [tail.every] * tail.n
    for gap in gaps:
        go(gap)
        yield w.detach().clone()


def step(
    network: Network,
    w: Float[Tensor, " networks params"],
    optimiser: torch.optim.Optimizer,
    images: Images,
    labels: Int64[Tensor, " n"],
) -> None:
    """One step of every network down its own mean cross-entropy.

    The sum of the losses has the gradient of each in its row, and Adam works number by number.
    """
    logits = network.logits(w, images).flatten(0, 1)
    loss = F.cross_entropy(logits, labels.repeat(len(w)), reduction="sum") / len(labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def fine_tune(
    starts: Mapping[str, Float[Tensor, " n params"]],
    network: Architecture,
    splits: Splits,
    training: ZooConfig,
    *,
    seed: int = 0,
) -> dict[str, Float[Tensor, " epochs n"]]:
    """Train the networks of all starts side by side; accuracies on the test images.

    All see the same batches, and each has an Adam of its own that starts anew.

    Args:
        training: its recipe, batch and epochs are followed.
        seed: of the order of the images.
    """
    w = torch.cat(list(starts.values()))
    kept = checkpoints(training, network, splits, [seed], w)
    found = torch.stack([accuracies(network, row, *splits.test) for row in kept])
    parts = found.split([len(rows) for rows in starts.values()], 1)
    return dict(zip(starts, parts, strict=True))
