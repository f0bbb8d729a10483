"""Any timm network as a target: residual, convolutional or attending, with weights or without.

`models.targets` knows vision transformers from inside. Here a network is asked for no more than
feature maps and a pooled feature.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from .. import params
from ..base import ConfigError
from ..nn import lent
from ..params import ParamSubset, Predicate
from . import targets
from .hosts import last_norms
from .targets import Target


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
        def one(row: Tensor, image: Tensor) -> Tensor:
            moved = self.subset.unflatten(row)
            return functional_call(self.model, moved, (image[None],))[0]

        with targets.ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            return torch.vmap(one)(thetas, self.prepare(images))

    def block_features(
        self, images: Float[Tensor, " n 3 h w"]
    ) -> tuple[Float[Tensor, " n depth 2 dim"], Float[Tensor, " n dim"]]:
        """The means of all feature maps, and the features, all at theta0."""
        with torch.no_grad(), targets.ONE_AT_A_TIME:
            last, maps = self.model.forward_intermediates(self.prepare(images))
            features = self.model.forward_head(last)
        means = torch.cat([one.mean((2, 3)) for one in maps], 1)
        room = 2 * self.depth * self.dim
        return (
            F.pad(means, (0, room - means.shape[1])).unflatten(1, (-1, 2, self.dim)),
            features,
        )


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
        width = sum(one.shape[1] for one in maps)
        whole = all(one.ndim == 4 for one in maps) and torch.allclose(
            pooled, alone, atol=1e-3, rtol=1e-2
        )
    except Exception as error:  # a network of timm's may raise anything
        raise ConfigError(
            f"{name} gives no feature maps for images of {blank.shape[-1]} pixels "
            f"({type(error).__name__}: {error}); take a larger size or another network"
        ) from error
    if not whole or alone.ndim != 2:
        raise ConfigError(
            f"{name} says no pooled feature of its feature maps; take another"
        )
    return alone.shape[1], width


def subsets(model: nn.Module) -> Mapping[str, Predicate]:
    """Name -> which parameters move, for every usual choice that this network has."""
    found: dict[str, Predicate] = {
        "qkv biases": params.qkv_biases,
        "query and value biases": params.qv_biases,
        "norms": params.norms,
        "all biases": params.all_biases,
        "everything": params.everything,
    }
    if sum(map(params.is_norm, model.modules())) > 1:
        last = set(last_norms(model))
        found["last two norms"] = lambda name: name.rpartition(".")[0] in last
    return {what: match for what, match in found.items() if _has(model, match)}


def _has(model: nn.Module, match: Predicate) -> bool:
    try:
        ParamSubset.select(model, match)
    except ConfigError:  # no such parameters, or not known which of them
        return False
    return True
