"""Populations of norm layers: a network is trained, then frozen but for its last two norms, and the
run goes on while every few steps those are kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import inf

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError, Progress, choose, silent, stream
from ..models import backbones
from ..models.backbones import NormNetwork
from ..nn import Descent, fit, lent
from .recipes import RECIPES, Splits
from .zoo import TailConfig, Zoo, scores, step

DECAY = 5e-4  # of AdamW's weights, before and after the freeze


@dataclass(frozen=True, kw_only=True)
class NormConfig:
    """How a network is trained and what is kept of it; the defaults are p-diff's for ResNet-18.

    FLoWN keeps 200, one an epoch, at a rate of 1.6e-4 (ResNet-18) or 5e-2 (ViT-B, ConvNeXt-T).

    Source: Wang et al. 2024, p-diff (arXiv:2402.13144), the authors' second code. They crop and
    mirror the images, here these stay as they are; a tenth of the steps for warm-up is ours.
    FLoWN, arXiv:2503.19371, table 8.
    """

    network: str = "resnet18"  # a timm network
    size: int | None = None  # of an image, in pixels; None: the network's own
    pretrained: bool = True  # starts from timm's weights (fetched once) and their inputs
    epochs: int = 10  # of all weights, before the freeze
    lr: float = 5e-4  # of AdamW before the freeze, cosine
    batch: int = 128  # images a step, before and after it
    n_train: int = 0  # images that are trained on; 0: all
    n_eval: int = 0  # most images for validation, and for test; 0: all
    seed: int = 0  # of first weights and batches
    tail: TailConfig = TailConfig(n=300, every=1, lr=0.03)  # AdamW anew, a constant rate

    def __post_init__(self) -> None:
        size = 1 if self.size is None else self.size
        counts = (size, self.epochs, self.batch, self.tail.n, self.tail.every)
        if min(counts) < 1:
            raise ConfigError(f"size, epochs, batch, n and every must be >= 1, got {self}")

    @classmethod
    def at(cls, scale: str) -> "NormConfig":
        """Presets; only "paper" starts from weights that others trained."""
        own = replace(cls(), size=32, pretrained=False, lr=2e-3)
        smoke = replace(own, network="test_resnet", tail=replace(own.tail, n=20))
        smoke = replace(smoke, n_train=400, n_eval=60, batch=20, epochs=3)
        laptop = replace(own, tail=replace(own.tail, n=200))
        laptop = replace(laptop, n_train=6_000, n_eval=1_000, batch=64, epochs=2)
        return choose({"smoke": smoke, "laptop": laptop, "paper": cls()}, scale)


def batches(
    n: int, batch: int, generator: torch.Generator
) -> Iterator[Int64[Tensor, " rows"]]:
    """Rows in random order, epoch after epoch without end; what fills no batch is left out."""
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: max(batch, n - n % batch)].split(batch)


def train_norms(
    config: NormConfig,
    splits: Splits,
    *,
    levels: tuple[float, float] = (0.0, 1.0),
    progress: Progress = silent,
) -> NormNetwork:
    """A timm network with all its weights trained on the images, then frozen.

    Args:
        levels: centre and spread that the images, once in [0, 1], were prepared with.
    """
    images, labels = splits.train
    if config.pretrained:
        _require_levels(images, levels)
    network = backbones.build_norm_network(
        config.network,
        splits.n_classes,
        size=config.size,
        pretrained=config.pretrained,
        levels=levels,
        generator=stream(config.seed, config.network, "init"),
    )
    model = network.model.to(images.device).train().requires_grad_(True)
    generator = stream(config.seed, config.network, "order")
    rows = batches(len(labels), config.batch, generator)

    def loss() -> Tensor:
        batch = next(rows)
        return F.cross_entropy(model(network.see(images[batch])), labels[batch])

    total = config.epochs * max(1, len(labels) // config.batch)
    descent = Descent(
        steps=total, lr=config.lr, warmup=total // 10, weight_decay=DECAY, clip=inf
    )
    with lent(stream(config.seed, config.network, "dropout")):
        fit(model, loss, descent, desc="host", progress=progress)
    model.requires_grad_(False)
    return network


def _require_levels(images: Tensor, levels: tuple[float, float]) -> None:
    low, high = (float(x) * levels[1] + levels[0] for x in images.aminmax())
    if not -1e-3 <= low <= high <= 1 + 1e-3:
        raise ConfigError(
            f"weights of timm's want images that were in [0, 1] before they were prepared; with "
            f"centre and spread {levels} these were in [{low:.2f}, {high:.2f}]: pass their levels"
        )


def record_tail(
    network: NormNetwork, config: NormConfig, splits: Splits, *, progress: Progress = silent
) -> Float[Tensor, " n params"]:
    """The last two norms every few steps, while they alone are trained.

    The network is in evaluation mode: running statistics stay, and a row says all there is.
    """
    images, labels = splits.train
    w = network.w0[None].clone().requires_grad_()
    optimiser = torch.optim.AdamW([w], config.tail.lr, weight_decay=DECAY)
    generator = stream(config.seed, config.network, "tail")
    rows, kept = batches(len(labels), config.batch, generator), []
    for _ in progress(range(config.tail.n), total=config.tail.n, desc="tail"):
        for batch in islice(rows, config.tail.every):
            step(network, w, optimiser, images[batch], labels[batch])
        kept.append(w.detach()[0].clone())
    return torch.stack(kept)


def train_tail(
    config: NormConfig, dataset: str, splits: Splits, *, progress: Progress = silent
) -> Zoo:
    """A host and its tail: a zoo of one run, whose epochs are the numbers of the checkpoints.

    It lies where the images are.
    """
    recipe = RECIPES.get(dataset)
    levels = (recipe.centre, recipe.spread) if recipe else (0.0, 1.0)
    network = train_norms(config, splits, levels=levels, progress=progress)
    w = record_tail(network, config, splits, progress=progress)
    epochs, columns = tuple(range(1, len(w) + 1)), (w, *scores(network, w, splits))
    w, *values = (x[None] for x in columns)
    return Zoo(network, w, epochs, (config.seed,), *values, dataset, splits.checksums)
