"""Symmetries: other weights, the same function; and alignment, which takes them away.

The channels of a hidden layer may be put in another order if the next layer reads them in that
order. Where the activation is odd (tanh) and nothing is pooled, a channel may also change its sign.
(Pooling breaks that: the maximum of -x is not minus the maximum of x.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..base import ConfigError
from ..models.cnn import Architecture
from .zoo import score

ODD = ("tanh",)  # activations with f(-x) = -f(x)


@dataclass(frozen=True, eq=False)
class Relabelling:
    """For every hidden layer the new order of its channels, and their signs, of n networks."""

    orders: Sequence[Tensor]  # int64, n x channels
    signs: Sequence[Tensor]  # 1 or -1, n x channels


def flips(architecture: Architecture) -> tuple[bool, ...]:
    """Of every hidden layer, whether its channels may change sign."""
    odd = architecture.activation in ODD
    return tuple(odd and not layer.pool for layer in architecture.layers[:-1])


def random_relabelling(
    architecture: Architecture, n: int, generator: torch.Generator
) -> Relabelling:
    """An order and signs at random, for n networks."""
    orders, signs = [], []
    for layer, may in zip(architecture.layers[:-1], flips(architecture), strict=True):
        noise = torch.rand(2, n, layer.n_out, generator=generator)
        orders.append(noise[0].argsort(1))
        signs.append(torch.where((noise[1] < 0.5) & may, -1.0, 1.0))
    return Relabelling(orders, signs)


def _parts(
    architecture: Architecture, w: Float[Tensor, " n params"]
) -> Iterator[tuple[Float[Tensor, " n out before rest"], Float[Tensor, " n out"]]]:
    """Weights and biases of every layer; `before` counts the channels of the layer before.

    `rest` are a kernel's pixels or, behind the flatten, those of one channel: PyTorch flattens
    channel by channel.
    """
    state, before = architecture.unflatten(w), architecture.channels
    for layer in architecture.layers:
        weight = state[f"{layer.name}.weight"]
        yield weight.reshape(len(w), layer.n_out, before, -1), state[f"{layer.name}.bias"]
        before = layer.n_out


def relabel(
    architecture: Architecture, w: Float[Tensor, " n params"], new: Relabelling
) -> Float[Tensor, " n params"]:
    """The same functions with other weights: channel `orders[k]` comes to place k."""
    rows, parts = torch.arange(len(w))[:, None], []
    for i, (weight, bias) in enumerate(_parts(architecture, w)):
        if i > 0:
            order, sign = new.orders[i - 1], new.signs[i - 1]
            weight = weight.transpose(1, 2)[rows, order].transpose(1, 2)
            weight = weight * sign[:, None, :, None]
        if i < len(new.orders):
            order, sign = new.orders[i], new.signs[i]
            weight = weight[rows, order] * sign[:, :, None, None]
            bias = bias[rows, order] * sign
        parts += [weight.flatten(1), bias]
    return torch.cat(parts, 1)


def align(
    architecture: Architecture,
    w: Float[Tensor, " n params"],
    reference: Float[Tensor, " params"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, " n params"]:
    """Relabel networks so that each lies near the reference.

    Layer after layer, in random order, the channels are assigned so that <w, reference> is as
    large as possible while all other layers stay; until no layer gains. The distance falls with
    every step, |w - r|^2 = |w|^2 + |r|^2 - 2 <w, r>, but need not become the least there is.

    Source: Ainsworth et al. 2023, Git Re-Basin (arXiv:2209.04836), section 3.2 and algorithm 1;
    signs are ours.
    """
    n_hidden, before = len(architecture.layers) - 1, w @ reference
    while True:
        for i in torch.randperm(n_hidden, generator=generator).tolist():
            w = relabel(architecture, w, _best(architecture, w, reference, i))
        now = w @ reference
        if not (now > before + 1e-5 * before.abs()).any():
            return w
        before = now


def _best(architecture: Architecture, w: Tensor, reference: Tensor, at: int) -> Relabelling:
    """The best relabelling of one hidden layer; all others stay."""
    own, ref = (list(_parts(architecture, x)) for x in (w, reference[None]))
    rows = [torch.cat([a.flatten(2), b[..., None]], 2) for a, b in (own[at], ref[at])]
    columns = [side[at + 1][0].transpose(1, 2).flatten(2) for side in (own, ref)]
    gain = (
        rows[1] @ rows[0].mT + columns[1] @ columns[0].mT
    )  # n x reference's x own channels
    may = flips(architecture)[at]
    worth = (gain.abs() if may else gain).detach().cpu().double().numpy()
    chosen = np.stack([linear_sum_assignment(one, maximize=True)[1] for one in worth])
    keep = [torch.arange(layer.n_out).expand(len(w), -1) for layer in architecture.layers]
    plain = [torch.ones(len(w), layer.n_out) for layer in architecture.layers]
    keep[at] = torch.from_numpy(chosen)
    if may:
        plain[at] = gain.gather(2, keep[at][:, :, None])[..., 0].sign()
    return Relabelling(keep[:-1], plain[:-1])


def align_zoo(
    architecture: Architecture,
    w: Float[Tensor, " n params"],
    *,
    rounds: int = 3,
    generator: torch.Generator,
) -> tuple[Float[Tensor, " n params"], Float[Tensor, " params"]]:
    """Align networks to the first one, then `rounds` times to the mean of all that are aligned.

    Returns:
        The aligned networks, and the reference of the last round: for networks that come later.

    Source: Ainsworth et al. 2023 (arXiv:2209.04836), appendix, "merging many models".
    """
    if rounds < 0 or not len(w):
        raise ConfigError(f"want networks and rounds >= 0, got {len(w)}, {rounds=}")
    reference = w[0]
    w = align(architecture, w, reference, generator=generator)
    for _ in range(rounds):
        reference = w.mean(0)
        w = align(architecture, w, reference, generator=generator)
    return w, reference


@dataclass(frozen=True, eq=False)
class Line:
    """What networks on the straight way from one to another do.

    Args:
        alpha: 0 at the first network, 1 at the second.
    """

    alpha: Float[Tensor, " points"]
    loss: Float[Tensor, " n points"]
    accuracy: Float[Tensor, " n points"]

    @property
    def barrier(self) -> Float[Tensor, " n"]:
        """max over alpha of L(alpha) - ((1 - alpha) L(0) + alpha L(1)), in nats.

        Source: Frankle et al. 2020 (arXiv:1912.05671); Ainsworth et al. 2023, section 2.
        """
        straight = torch.lerp(self.loss[:, :1], self.loss[:, -1:], self.alpha)
        return (self.loss - straight).amax(1)


def line(
    architecture: Architecture,
    start: Float[Tensor, " n params"],
    end: Float[Tensor, " n params"],
    data: tuple[Tensor, Tensor],
    *,
    points: int = 11,
) -> Line:
    """Loss and accuracy along the straight lines between pairs of networks.

    Args:
        data: images and labels.
    """
    alpha = torch.linspace(0, 1, points)
    between = torch.lerp(start[:, None], end[:, None], alpha[:, None])
    accuracy, loss = score(architecture, between.flatten(0, 1), *data)
    shape = (len(start), points)
    return Line(alpha, loss.reshape(shape), accuracy.reshape(shape))
