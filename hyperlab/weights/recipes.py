"""How the networks of a zoo are trained, data set by data set, and the images they see."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..base import ConfigError, DataMissingError, choose, stream
from ..identity import checksum
from ..models.cnn import ARCHITECTURES, Architecture
from ..models.own import OwnNetwork
from ..tasks import domains
from ..tasks.domains import Domain
from ..tasks.drawn import synthetic

LOG = logging.getLogger(__name__)
BIAS = 0.01  # every bias of an untrained network
SPLIT_SEED = 42  # of the published zoos' data sets; which images it gives is ours
OWN_SHARES = (0.7, 0.15, 0.15)  # training, validation, test where the source has no two
DRAWN = 400  # images of a class that are drawn for a procedural family
GREY = (0.299, 0.587, 0.114)  # luma weights of ITU-R BT.601, as PIL's and torchvision's


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What all networks of one zoo have in common: Adam, an architecture and prepared images."""

    dataset: str  # a domain's name, or a procedural family's
    architecture: str = "cnn_small"  # see `models.cnn`
    activation: str = "tanh"
    init: str = "uniform"  # of the weights, see INITS
    lr: float = 3e-4  # of Adam, constant
    weight_decay: float = 0.0  # added to the gradient, as torch's Adam does
    channels: int = 1  # 1: coloured images are made grey
    centre: float = 0.5  # subtracted from images in [0, 1] ...
    spread: float = 0.5  # ... which are then divided by this
    val: float = 1 / 6  # share of the source's training images kept for validation

    def __post_init__(self) -> None:
        choose(ARCHITECTURES, self.architecture)
        choose(INITS, self.init)

    def network(self, n_classes: int = 10) -> Architecture:
        """The architecture of every network."""
        make = choose(ARCHITECTURES, self.architecture)
        return make(channels=self.channels, n_classes=n_classes, activation=self.activation)


def uniform(u: Float[Tensor, "..."], _fan_in: int) -> Float[Tensor, "..."]:
    """`u` itself, between 0 and 1: literally torch's `uniform_`."""
    return u


def kaiming_uniform(u: Float[Tensor, "..."], fan_in: int) -> Float[Tensor, "..."]:
    """Between -b and b, b = sqrt(6 / fan_in), as torch's `kaiming_uniform_`."""
    return (2 * u - 1) * (6 / fan_in) ** 0.5


INITS = MappingProxyType({"uniform": uniform, "kaiming_uniform": kaiming_uniform})


def untrained(
    network: Architecture | OwnNetwork, init: str, generator: torch.Generator
) -> Float[Tensor, " params"]:
    """A network before training: random weights, biases of 0.01; a reader's own as it comes."""
    if isinstance(network, OwnNetwork):
        return network.untrained(generator)
    scale, parts = choose(INITS, init), []
    for layer in network.layers:
        n = layer.n_params - layer.n_out
        u = torch.rand(n, generator=generator)
        parts += [scale(u, n // layer.n_out), torch.full((layer.n_out,), BIAS)]
    return torch.cat(parts)


MNIST = Recipe(dataset="mnist", centre=0.1307, spread=0.3081)
FASHION = Recipe(dataset="fashion_mnist")
CIFAR = Recipe(
    dataset="cifar10",
    activation="gelu",
    init="kaiming_uniform",
    lr=1e-4,
    weight_decay=1e-2,
    channels=3,
    val=0.16,
)
STL = replace(CIFAR, dataset="stl10", activation="tanh", weight_decay=1e-3)

# Source: Schuerholt et al. 2022, Model Zoos (arXiv:2209.14764), the "seed" zoos' configurations.
RECIPES = MappingProxyType(
    {
        "mnist": MNIST,
        "fashion_mnist": FASHION,
        "svhn": Recipe(dataset="svhn", lr=3e-3, val=13_257 / 73_257),
        "usps": replace(MNIST, dataset="usps", weight_decay=1e-3, val=1_291 / 7_291),
        "cifar10": CIFAR,
        "cifar10_medium": replace(CIFAR, architecture="cnn_medium"),
        "stl10": STL,
        "stl10_medium": replace(STL, architecture="cnn_medium"),
        "kmnist": replace(MNIST, dataset="kmnist"),  # FLoWN's, with MNIST's settings
        # Our own choices, for data sets that have no published zoo.
        "notmnist": replace(FASHION, dataset="notmnist"),
        "digits": replace(MNIST, dataset="digits"),
        "glyphs": replace(FASHION, dataset="glyphs"),
        "objects": replace(CIFAR, dataset="objects"),
        "textures": replace(CIFAR, dataset="textures"),
    }
)


class Images(NamedTuple):
    """Prepared images with their classes."""

    images: Float[Tensor, " n c h w"]
    labels: Int64[Tensor, " n"]

    def first(self, n: int) -> "Images":
        """At most n of them; 0 is all."""
        return Images(self.images[:n], self.labels[:n]) if n else self

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Splits:
    """The images of a zoo in random order; those of `test` are for reports, never for choices.

    Args:
        origin: which images of the source the three parts are.
        checksums: of all the source's images, and of their labels, by these names.
    """

    train: Images
    val: Images
    test: Images
    n_classes: int
    origin: str
    checksums: Mapping[str, str] = field(default_factory=dict)

    def first(self, n_train: int, n_eval: int) -> "Splits":
        """At most so many training images, and so many for validation and for test; 0 is all."""
        parts = (self.train.first(n_train), self.val.first(n_eval), self.test.first(n_eval))
        return Splits(*parts, self.n_classes, self.origin, self.checksums)

    def to(self, device: torch.device | str) -> "Splits":
        """A copy on `device`."""
        parts = (part.to(device) for part in (self.train, self.val, self.test))
        return Splits(*parts, self.n_classes, self.origin, self.checksums)


def prepare(recipe: Recipe, images: Tensor | np.ndarray) -> Float[Tensor, " n c h w"]:
    """Bytes -> what the networks of a recipe see."""
    x = torch.as_tensor(images).float().div_(255)
    if x.shape[1] < recipe.channels:
        raise ConfigError(
            f"{recipe.dataset} is grey, its recipe has {recipe.channels} channels; take 1"
        )
    if x.shape[1] > recipe.channels:
        x = torch.einsum("nchw,c->nhw", x, torch.tensor(GREY))[:, None]
    return x.sub_(recipe.centre).div_(recipe.spread)


def load(recipe: Recipe, *, root: Path | str | None = None) -> Splits:
    """All images of a zoo, split and prepared.

    Where the source has no training part of its own, or only its test part is there, the images
    are split 70 : 15 : 15.
    """
    choose({**domains.CATALOGUE, **synthetic.FAMILIES}, recipe.dataset)
    size = recipe.network().size
    if recipe.dataset in synthetic.FAMILIES:
        drawn = synthetic.render(recipe.dataset, n_classes=10, n_per_class=DRAWN, size=size)
        return own_split(recipe, drawn, "drawn images")
    try:
        train = _read(recipe, root, size, "train")
    except ConfigError:
        return own_split(recipe, _read(recipe, root, size, None), "images")
    except DataMissingError:
        test = _read(recipe, root, size, "test")  # nothing at all: the same error
        LOG.warning("%s: no training images here, its test images are split", test.name)
        return own_split(recipe, test, "images of the source's test part")
    return official_split(recipe, train, _read(recipe, root, size, "test"))


def _read(recipe: Recipe, root: Path | str | None, size: int, split: str | None) -> Domain:
    if recipe.dataset != "svhn":
        return domains.load(recipe.dataset, root=root, size=size, split=split)
    whole = domains.load("svhn", root=root, size=32, split=split)
    middle = slice((32 - size) // 2, (32 + size) // 2)  # which the published zoo cuts out
    return replace(whole, images=whole.images[..., middle, middle])


def official_split(recipe: Recipe, train: Domain, test: Domain) -> Splits:
    """The source's two parts; validation comes out of its training part."""
    if train.class_names != test.class_names:
        raise ConfigError(f"{train.name}: training and test part have other classes")
    n_val = round(recipe.val * len(train.labels))
    val, rest = _shuffled(recipe, train, [n_val, len(train.labels) - n_val])
    parts = (rest, val, *_shuffled(recipe, test, [len(test.labels)]))
    origin = "the source's training and test part"
    return Splits(*parts, train.n_classes, origin, _joint(train, test))


def own_split(recipe: Recipe, domain: Domain, what: str) -> Splits:
    """A split of our own where the source has none."""
    n = len(domain.labels)
    counts = [round(share * n) for share in OWN_SHARES[:2]]
    parts = _shuffled(recipe, domain, [*counts, n - sum(counts)])
    origin = f"own split 70:15:15 of {n} {what}"
    return Splits(*parts, domain.n_classes, origin, _joint(domain))


def _joint(*parts: Domain) -> dict[str, str]:
    return {n: checksum([p.checksums[n] for p in parts]) for n in ("images", "labels")}


def _shuffled(recipe: Recipe, domain: Domain, counts: list[int]) -> Iterator[Images]:
    generator = stream(SPLIT_SEED, recipe.dataset, "split", domain.name, sum(counts))
    order = torch.randperm(sum(counts), generator=generator)
    images = torch.as_tensor(domain.images)
    for rows in order.split(counts):
        yield Images(prepare(recipe, images[rows]), domain.labels[rows])
