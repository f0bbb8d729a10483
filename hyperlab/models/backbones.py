"""Any timm network, with weights or without: as a target, or with its last norms moving.

`models.targets` knows vision transformers from inside. Here a target is asked for no more than
feature maps and a pooled feature.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .. import params
from ..base import ConfigError
from ..nn import lent
from ..params import ParamSubset, Predicate
from . import targets
from .inputs import Inputs
from .network import ONE_AT_A_TIME, FlatNetwork, for_each
from .targets import Target

PAIRS = 1_250  # networks x images at once; 50 images of ResNet-18 for 25 networks


@dataclass(frozen=True, eq=False)
class Backbone(Target):
    """A target whose context is the mean of every feature map, filled up with zeros.

    Any parameters may differ from image to image, for each image is a pass of its own under vmap.
    That costs as many copies of the moving parameters as there are images; a task alone needs one.

    Args:
        dim: numbers of a feature.
        depth: rows of 2 x dim numbers that the means of all maps fill.
    """

    dim: int = 0
    depth: int = 0

    @property
    def context_sizes(self) -> tuple[int, int]:
        return (2 * self.depth + 2) * self.dim, self.dim

    def _each(self, thetas: Tensor, images: Tensor) -> Tensor:
        run, one = partial(self.subset.call, self.model), self.prepare(images)[:, None]
        return for_each(run, thetas, one)[:, 0]

    def block_features(
        self, images: Float[Tensor, " n 3 h w"]
    ) -> tuple[Float[Tensor, " n depth 2 dim"], Float[Tensor, " n dim"]]:
        """The means of all feature maps, and the features, all at theta0."""
        with torch.no_grad(), ONE_AT_A_TIME:
            last, maps = self.model.forward_intermediates(self.prepare(images))
            features = self.model.forward_head(last)
        means = torch.cat([one.mean((2, 3)) for one in maps], 1)
        filled = F.pad(means, (0, 2 * self.depth * self.dim - means.shape[1]))
        return filled.unflatten(1, (-1, 2, self.dim)), features


def load(
    name: str,
    *,
    size: int | None = None,
    pretrained: bool = False,
    generator: torch.Generator,
) -> Target:
    """A timm network as a target of which everything moves; `moving` frees a part of it.

    It sees images as its weights were trained to, see `models.inputs`.

    Args:
        size: of an image in pixels, others are resized; None: the network's own.
        pretrained: False gives random weights, drawn from `generator`.

    Raises:
        ConfigError: there is no such network, or it gives no feature maps for such images.
        DataMissingError: no weights in the cache and none to be fetched.
    """
    size, inputs = targets.own_inputs(name, size)
    with lent(generator):
        model = targets.classifier(name, 0, size=size, pretrained=pretrained)
    blank = torch.rand(2, 3, size, size, generator=generator)
    dim, width = _widths(model, name, blank)
    sizes = {"image_size": size, "dim": dim, "depth": math.ceil(width / (2 * dim))}
    everything = ParamSubset.select(model, lambda _: True)
    return Backbone(name, model, everything, inputs=inputs, **sizes)


def _widths(model: nn.Module, name: str, blank: Tensor) -> tuple[int, int]:
    """Numbers of a feature, and channels of all feature maps, by a trial."""
    try:
        with torch.no_grad():
            last, maps = model.forward_intermediates(blank)
            pooled, alone = model.forward_head(last), model(blank)
        same = torch.allclose(pooled, alone, atol=1e-3, rtol=1e-2)
    except Exception as error:  # a network of timm's may raise anything
        raise ConfigError(
            f"{name} gives no feature maps for images of {blank.shape[-1]} pixels "
            f"({type(error).__name__}: {error}); take a larger size or another network"
        ) from error
    if not same or alone.ndim != 2 or any(one.ndim != 4 for one in maps):
        raise ConfigError(
            f"{name} says no pooled feature of its feature maps; take another"
        )
    return alone.shape[1], sum(one.shape[1] for one in maps)


def subsets(model: nn.Module) -> Mapping[str, Predicate]:
    """Name -> which parameters move, for every usual choice that this network has."""
    usual: dict[str, Predicate] = {
        "qkv biases": params.qkv_biases,
        "query and value biases": params.qv_biases,
        "norms": params.norms,
        "all biases": params.all_biases,
        "everything": params.everything,
        "last two norms": lambda name: name.rpartition(".")[0] in last_norms(model),
    }
    return {what: match for what, match in usual.items() if _has(model, match)}


def _has(model: nn.Module, match: Predicate) -> bool:
    try:
        ParamSubset.select(model, match)
    except ConfigError:  # no such parameters, or not known which of them
        return False
    return True


def last_norms(model: nn.Module, n: int = 2) -> tuple[str, ...]:
    """Names of the last n normalisation layers with weights of their own, in module order."""
    names = [name for name, layer in model.named_modules() if params.is_norm(layer)]
    if len(names) < n:
        raise ConfigError(f"want {n} normalisation layers, the network has {names}")
    return tuple(names[-n:])


@dataclass(frozen=True, eq=False)
class NormNetwork(FlatNetwork):
    """A frozen network; a row of numbers replaces weights and biases of its last two norms.

    Running statistics are the network's own and stay.

    Args:
        name: timm's.
        size: of an image, in pixels; others are resized, grey ones repeated in three channels.
        inputs: those that its weights were trained with elsewhere; None: it is trained on images
            as they come.
        levels: with `inputs`: centre and spread that images in [0, 1] were prepared with before.

    Source: Wang et al. 2024, p-diff (arXiv:2402.13144), section 3; FLoWN, arXiv:2503.19371,
    table 8.
    """

    size: int
    inputs: Inputs | None = None
    levels: tuple[float, float] = (0.0, 1.0)

    def moving(self) -> set[str]:
        norms = last_norms(self.model)
        names = (name for name, _ in self.model.named_parameters())
        return {name for name in names if name.rpartition(".")[0] in norms}

    def passes(self, images: Tensor, n_rows: int) -> Sequence[Tensor]:
        return images.split(max(1, PAIRS // max(1, n_rows)))

    def see(self, images: Float[Tensor, " n c h w"]) -> Float[Tensor, " n 3 size size"]:
        """Images as the network takes them."""
        if images.shape[1] not in (1, 3):
            raise ConfigError(f"{self.name} takes 1 or 3 channels, got {images.shape[1]}")
        if self.inputs:
            plain = images * self.levels[1] + self.levels[0]
            return self.inputs(plain.expand(-1, 3, -1, -1), self.size, images.device)
        return Inputs().resized(images, self.size).expand(-1, 3, -1, -1)


def build_norm_network(
    name: str,
    n_classes: int,
    *,
    size: int | None = None,
    pretrained: bool = False,
    levels: tuple[float, float] = (0.0, 1.0),
    generator: torch.Generator,
) -> NormNetwork:
    """A timm network with a new head, whose last norm layers move.

    Args:
        size: pixels; None: the network's own.
        pretrained: False gives random weights; True sees images as those were trained to.

    Raises:
        ConfigError: there is no such network, or it takes no images of this size.
        DataMissingError: no weights in the cache and none to be fetched.
    """
    size, inputs = targets.own_inputs(name, size)
    with lent(generator):
        model = targets.classifier(name, n_classes, size=size, pretrained=pretrained)
    return NormNetwork(name, model, n_classes, size, inputs if pretrained else None, levels)
