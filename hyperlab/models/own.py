"""A reader's own `nn.Module` as a network that is a row of numbers.

With that a zoo of it can be trained, all seeds at once, and its networks encoded, generated and
judged like those of `models.cnn`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..base import ConfigError, stream
from ..nn import lent
from .cnn import Architecture, Layer
from .network import FlatNetwork

Make = Callable[[], nn.Module]
NEAR = 1e-3  # largest difference that counts as rounding, over the largest output
FEW = 5  # images of a trial


@dataclass(frozen=True, eq=False)
class OwnNetwork(FlatNetwork):
    """The architecture of a module: what all its networks share.

    It runs in evaluation mode, in training as well, so that a row is the whole network: dropout
    does nothing. Frozen parameters (requires_grad False) are no part of a row and stay as they are.
    Made by `network`, which tries it out.

    Args:
        make: gives the module with new first weights, drawn from torch's global stream.
        model: one such module.
        channels: of an image, as are height and width in `shape`.
    """

    make: Make
    channels: int
    shape: tuple[int, int]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor, in the order of the row."""
        return {name: tuple(tensor.shape) for name, tensor in self.subset.base.items()}

    def untrained(self, generator: torch.Generator) -> Float[Tensor, " params"]:
        """The row of a new module: first weights as its author draws them."""
        with lent(generator):
            named = dict(self.make().named_parameters())
        return self.flatten({name: p.detach() for name, p in named.items()})

    def module(self, w: Float[Tensor, " params"]) -> nn.Module:
        """A module of its own with the weights of a row, e.g. to be saved or trained on."""
        with lent(stream(0, "replaced at once")):
            model = self.make()
        with torch.no_grad():
            for name, values in self.unflatten(w.detach()).items():
                model.get_parameter(name).copy_(values)
        return model.eval()

    def see(self, images: Float[Tensor, " n c h w"]) -> Float[Tensor, " n c h w"]:
        wanted = (self.channels, *self.shape)
        if images.shape[1:] != wanted:
            raise ConfigError(f"{self.name} takes {wanted}, got {tuple(images.shape[1:])}")
        return images

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Convolutions and linear layers, where they are a chain whose channels can be relabelled.

        Found by trial: the module is a chain if putting the channels of any hidden layer in
        another order, and the next layer's inputs with them, changes no output.

        Raises:
            ConfigError: it is no such chain, so its networks cannot be aligned.
        """
        return tuple(_chain(self))

    @property
    def activation(self) -> str:
        """Unknown: alignment chooses orders and no signs."""
        return "unknown"


Chain = Architecture | OwnNetwork  # what may have channels that can be relabelled


def network(
    make: Make, *, channels: int = 3, size: int | tuple[int, int] = 32, name: str = ""
) -> OwnNetwork:
    """A module as a network, after a trial run of two of it on the same random images.

    Args:
        make: e.g. a class without arguments, or `lambda: MyNet(width=8)`.
        size: of an image in pixels, or its height and width.
        name: the module's class by default.

    Raises:
        ConfigError: it has no parameters, keeps running statistics, is random, does not give
            logits (images x classes), cannot run for many rows at once, `make` gives the same
            weights twice, or two modules with the same row are not the same network (random
            buffers, as of spectral norms and Fourier features).
    """
    with lent(stream(0, "first look")):
        model = make()
    if not isinstance(model, nn.Module):
        raise ConfigError(f"make() gave a {type(model).__name__}, want an nn.Module")
    name = name or type(model).__name__
    _require_plain(model, name)
    shape = (size, size) if isinstance(size, int) else tuple(size)
    images = torch.randn(FEW, channels, *shape, generator=stream(0, "trial", name))
    logits = _alone(model.eval(), images, name)
    net = OwnNetwork(name, model, logits.shape[1], make, channels, shape)
    again = net.module(net.w0)
    logits_again = _alone(again, images, name)
    odd = _unlike(model, again, set(net.shapes))
    if not odd:
        _require_rows(net, images, logits)
    if odd or _far(logits_again, logits):
        raise ConfigError(
            f"two {name} with the same row of weights are two networks: {odd or 'something'} is "
            "drawn anew in each and is no parameter that trains; draw it from a generator with a "
            "seed of its own, or make it an nn.Parameter"
        )
    return net


def _require_rows(net: OwnNetwork, images: Tensor, logits: Tensor) -> None:
    """Two rows on the same images: they differ, run together, and give the module's logits."""
    rows = torch.stack([net.w0, net.untrained(stream(0))])
    if torch.equal(*rows):
        raise ConfigError(
            f"make() gives a {net.name} with the same weights twice; build it anew"
        )
    try:
        together = net.logits(rows, images)
    except Exception as error:  # whatever vmap does not know how to do
        raise ConfigError(
            f"{net.name} cannot run for many rows at once (torch.vmap): {error}; leave out "
            "randomness, .item() and branches on the values of tensors"
        ) from error
    if _far(together[0], logits):
        raise ConfigError(
            f"{net.name} says something else alone than among others; is it random?"
        )


def _unlike(one: nn.Module, two: nn.Module, row: set[str]) -> list[str]:
    """Some buffers, frozen parameters and attributes that no row holds and that are not equal."""

    def kept(model: nn.Module) -> dict[str, Tensor]:
        parts = [
            (f"{place}.{name}".lstrip("."), x)
            for place, module in model.named_modules()
            for group in (vars(module), module._buffers, module._parameters)
            for name, x in group.items()
        ]
        return {n: x for n, x in parts if isinstance(x, Tensor) and n not in row}

    def same(x: Tensor, y: Tensor) -> bool:
        return x.shape == y.shape and torch.allclose(x.double(), y.double(), equal_nan=True)

    a, b = kept(one), kept(two)
    names = sorted({*a, *b})
    return [n for n in names if n not in a or n not in b or not same(a[n], b[n])][:3]


def _require_plain(model: nn.Module, name: str) -> None:
    kept = [
        n
        for n, m in model.named_modules()
        if isinstance(m, _BatchNorm) or getattr(m, "running_mean", None) is not None
    ]
    if kept:
        raise ConfigError(
            f"{name} has batch statistics in {kept[:3]}, which a row of weights does not say; "
            "take nn.GroupNorm(1, channels) or nn.LayerNorm instead"
        )
    named = {n: p for n, p in model.named_parameters() if p.requires_grad}
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in named.values()):
        raise ConfigError(f"{name} has lazy layers; give them their sizes")
    if odd := [n for n, p in named.items() if p.dtype != torch.float32] or not named:
        raise ConfigError(
            f"{name} wants parameters of 32-bit numbers; found {odd or 'none'}"
        )


@torch.no_grad()
def _alone(model: nn.Module, images: Tensor, name: str) -> Tensor:
    try:
        logits = model(images)
    except Exception as error:  # the reader's code may raise anything
        raise ConfigError(
            f"{name} does not take images of {tuple(images.shape)}: {error}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != len(images):
        raise ConfigError(
            f"{name} gives {shape} for {len(images)} images; want n x classes"
        )
    return logits


def _far(one: Tensor, two: Tensor) -> bool:
    """Whether two answers differ by more than rounding."""
    gap = (one - two).abs().max()
    return not bool(gap <= NEAR * two.abs().max().clamp(min=1e-6))


def _chain(net: OwnNetwork) -> Iterator[Layer]:
    """The layers, if they are a chain."""

    def refuse(why: str) -> ConfigError:
        return ConfigError(
            f"{net.name} cannot be aligned: it is no chain of convolutions and linear layers "
            f"with biases ({why}); leave its networks as they are"
        )

    layers, width = [], net.channels
    for name, module in net.model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            n_out, n_in, *kernel = module.weight.shape
            layers.append(Layer(name, n_in, n_out, kernel[0] if kernel else 0))
            if n_in % width or module.bias is None:
                raise refuse(f"{name} reads {n_in} numbers and is given {width}")
            width = n_out
    names = [f"{layer.name}.{part}" for layer in layers for part in ("weight", "bias")]
    if names != list(net.shapes):
        others = sorted(set(net.shapes) ^ set(names))
        raise refuse(f"not all its parameters are those of layers: {others[:3]}")
    for one, after in pairwise(layers):
        if _minds(net, one, after):
            raise refuse(f"the order of the channels of {one.name} matters")
    yield from layers


@torch.no_grad()
def _minds(net: OwnNetwork, one: Layer, after: Layer) -> bool:
    """Whether an output changes when the channels of a layer are put in another order."""
    g = stream(0, "relabel", one.name)
    noise = torch.randn(net.n_params, generator=g)
    row = net.w0 + 0.1 * noise  # no weight is 0, no bias like another
    images = torch.randn(FEW, net.channels, *net.shape, generator=g)
    state, order = net.unflatten(row), torch.randperm(one.n_out, generator=g)
    own = {n: state[n][order] for n in (f"{one.name}.weight", f"{one.name}.bias")}
    columns = state[f"{after.name}.weight"]
    apart = columns.reshape(after.n_out, one.n_out, -1)[:, order]
    moved = {**state, **own, f"{after.name}.weight": apart.reshape(columns.shape)}
    logits = net.logits(torch.stack([row, net.flatten(moved)]), images)
    return _far(logits[1], logits[0])
