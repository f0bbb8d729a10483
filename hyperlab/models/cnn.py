"""The small convolutional networks of the model zoos, many of them at once.

A network is a row of numbers: layer by layer the weights, then the biases. All functions take a
whole population (models x params) and run every network in one pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError, choose

ACTIVATIONS = MappingProxyType(
    {"tanh": torch.tanh, "gelu": F.gelu, "relu": F.relu, "silu": F.silu}
)


@runtime_checkable
class Network(Protocol):
    """Whatever is a row of numbers: an `Architecture`, or the norm layers of a frozen network."""

    name: str
    n_params: int
    n_classes: int

    def unflatten(self, w: Float[Tensor, "*batch params"]) -> dict[str, Tensor]: ...

    def logits(
        self, w: Float[Tensor, " models params"], images: Float[Tensor, " n c h w"]
    ) -> Float[Tensor, " models n classes"]: ...


@dataclass(frozen=True)
class Layer:
    """A convolution (kernel > 0) or a linear map (kernel 0), both with biases."""

    name: str
    n_in: int
    n_out: int
    kernel: int = 0  # pixels
    pool: bool = False  # 2 x 2 maximum after it, before the activation

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weights, as PyTorch stores them."""
        square = (self.kernel, self.kernel) if self.kernel else ()
        return (self.n_out, self.n_in, *square)

    @property
    def n_params(self) -> int:
        return prod(self.shape) + self.n_out


@dataclass(frozen=True)
class Architecture:
    """Convolutions, then linear layers, an activation after each but the last.

    Args:
        size: height and width of an image in pixels.
    """

    name: str
    layers: tuple[Layer, ...]
    size: int
    activation: str

    def __post_init__(self) -> None:
        choose(ACTIVATIONS, self.activation)

    @property
    def channels(self) -> int:
        return self.layers[0].n_in

    @property
    def n_classes(self) -> int:
        return self.layers[-1].n_out

    @property
    def n_params(self) -> int:
        return sum(layer.n_params for layer in self.layers)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor, in the order of the row."""
        return {
            f"{layer.name}.{part}": shape
            for layer in self.layers
            for part, shape in (("weight", layer.shape), ("bias", (layer.n_out,)))
        }

    def unflatten(self, w: Float[Tensor, "*batch params"]) -> dict[str, Tensor]:
        """Name -> tensor; the leading axes of `w` stand in front of each shape."""
        if w.shape[-1] != self.n_params:
            raise ConfigError(
                f"a {self.name} with {self.channels} channels and {self.n_classes} classes "
                f"has {self.n_params} weights, got rows of {w.shape[-1]}"
            )
        parts = w.split([prod(shape) for shape in self.shapes.values()], -1)
        pairs = zip(self.shapes.items(), parts, strict=True)
        return {name: x.reshape(*w.shape[:-1], *shape) for (name, shape), x in pairs}

    def flatten(self, state: Mapping[str, Tensor]) -> Float[Tensor, "*batch params"]:
        """The row of a network, or the rows of many, from named tensors."""
        parts = [state[name].flatten(-len(shape)) for name, shape in self.shapes.items()]
        return torch.cat(parts, -1)

    def logits(
        self, w: Float[Tensor, " models params"], images: Float[Tensor, " n c h w"]
    ) -> Float[Tensor, " models n classes"]:
        """What every network says of the same images."""
        wanted = (self.channels, self.size, self.size)
        if images.shape[1:] != wanted:
            raise ConfigError(f"{self.name} takes {wanted}, got {tuple(images.shape[1:])}")
        state, act = self.unflatten(w), ACTIVATIONS[self.activation]
        x = images
        for layer in self.layers:
            weight, bias = state[f"{layer.name}.weight"], state[f"{layer.name}.bias"]
            if x is images:
                x = first_convolution(images, weight, bias)
            elif layer.kernel:
                x = F.conv2d(x, weight.flatten(0, 1), bias.flatten(), groups=len(w))
            else:
                if x.ndim == 4:  # a network's channels, then pixels: PyTorch's own order
                    x = x.unflatten(1, (len(w), -1)).flatten(2).transpose(0, 1)
                x = torch.baddbmm(bias[:, None], x, weight.mT)
            x = F.max_pool2d(x, 2) if layer.pool else x
            x = x if layer is self.layers[-1] else act(x)
        return x


def first_convolution(
    images: Float[Tensor, " n c h w"],
    weight: Float[Tensor, " models c_out c k k"],
    bias: Float[Tensor, " models c_out"],
) -> Float[Tensor, " n models*c_out h2 w2"]:
    """Every network's first convolution of the same images: one matrix product.

    The channels come last in memory, where pooling is three times as fast.
    """
    k = weight.shape[-1]
    patches = images.unfold(2, k, 1).unfold(3, k, 1).permute(0, 2, 3, 1, 4, 5)
    rows, matrix = patches.flatten(0, 2).flatten(1), weight.flatten(0, 1).flatten(1).T
    y = torch.addmm(bias.flatten(), rows, matrix)
    return y.view(*patches.shape[:3], -1).permute(0, 3, 1, 2)


def cnn_small(
    *, channels: int = 1, n_classes: int = 10, activation: str = "tanh"
) -> Architecture:
    """2,464 weights for grey images of 28 pixels and ten classes, 2,864 for coloured ones.

    Source: Schuerholt et al. 2022, Model Zoos (arXiv:2209.14764), `CNN`.
    """
    layers = (
        Layer("conv1", channels, 8, 5, pool=True),
        Layer("conv2", 8, 6, 5, pool=True),
        Layer("conv3", 6, 4, 2),
        Layer("fc1", 36, 20),
        Layer("fc2", 20, n_classes),
    )
    return Architecture("cnn_small", layers, 28, activation)


def cnn_medium(
    *, channels: int = 3, n_classes: int = 10, activation: str = "gelu"
) -> Architecture:
    """10,853 weights for coloured images of 32 pixels and ten classes, 10,565 for grey ones.

    Source: Schuerholt et al. 2022, Model Zoos (arXiv:2209.14764), `CNN3`, there called large.
    """
    layers = (
        Layer("conv1", channels, 16, 3, pool=True),
        Layer("conv2", 16, 32, 3, pool=True),
        Layer("conv3", 32, 15, 3, pool=True),
        Layer("fc1", 60, 20),
        Layer("fc2", 20, n_classes),
    )
    return Architecture("cnn_medium", layers, 32, activation)


ARCHITECTURES = MappingProxyType({"cnn_small": cnn_small, "cnn_medium": cnn_medium})
