"""Symmetries: other weights, the same function; and alignment, which takes them away.

The channels of a hidden layer may be put in another order if the next layer reads them in that
order. Where the activation is odd (tanh) and nothing is pooled, a channel may also change its sign.
Pooling breaks that: the maximum of -x is minus the minimum of x, not minus its maximum. So in a
`cnn_small` with tanh only conv3 and fc1 have signs, in a `cnn_medium` with tanh only fc1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..base import ConfigError
from ..models.cnn import Network
from ..models.own import Chain
from .zoo import require_networks, score

Part = tuple[Tensor, Tensor]  # weights and biases of a layer, of n networks
ODD = ("tanh",)  # activations with f(-x) = -f(x)


@dataclass(frozen=True, eq=False)
class Relabelling:
    """For every hidden layer the new order of its channels, and their signs, of n networks."""

    orders: list[Tensor]  # int64, n x channels
    signs: list[Tensor]  # 1 or -1, n x channels


def flips(architecture: Chain) -> tuple[bool, ...]:
    """Of every hidden layer, whether its channels may change sign."""
    odd = architecture.activation in ODD
    return tuple(odd and not layer.pool for layer in architecture.layers[:-1])


def random_relabelling(
    architecture: Chain, n: int, generator: torch.Generator
) -> Relabelling:
    """An order and signs at random, for n networks."""
    orders, signs = [], []
    for layer, may in zip(architecture.layers[:-1], flips(architecture), strict=True):
        noise = torch.rand(2, n, layer.n_out, generator=generator)
        orders.append(noise[0].argsort(1))
        signs.append(torch.where((noise[1] < 0.5) & may, -1.0, 1.0))
    return Relabelling(orders, signs)


def _parts(architecture: Chain, w: Tensor) -> Iterator[Part]:
    """Every layer's weights (n x out x before x rest) and biases (n x out).

    `before` are the channels of the layer before, `rest` a kernel's pixels or, behind the flatten,
    those of one channel: PyTorch flattens channel by channel.
    """
    state, before = architecture.unflatten(w), architecture.channels
    for layer in architecture.layers:
        weight = state[f"{layer.name}.weight"]
        yield weight.reshape(len(w), layer.n_out, before, -1), state[f"{layer.name}.bias"]
        before = layer.n_out


def _reorder(parts: list[Part], i: int, order: Tensor, sign: Tensor) -> None:
    """Relabel hidden layer i in place: its own rows, and the next layer's columns."""
    rows, sign = torch.arange(len(order), device=order.device)[:, None], sign[..., None]
    weight, bias = parts[i]
    parts[i] = weight[rows, order] * sign[..., None], bias[rows, order] * sign[..., 0]
    weight, bias = parts[i + 1]
    columns = weight.transpose(1, 2)[rows, order] * sign[..., None]
    parts[i + 1] = columns.transpose(1, 2), bias


def _row(parts: list[Part]) -> Tensor:
    return torch.cat([x.flatten(1) for part in parts for x in part], 1)


def relabel(
    architecture: Chain, w: Float[Tensor, " n params"], new: Relabelling
) -> Float[Tensor, " n params"]:
    """The same functions with other weights: channel `orders[k]` comes to place k."""
    parts = list(_parts(architecture, w))
    for i, (order, sign) in enumerate(zip(new.orders, new.signs, strict=True)):
        _reorder(parts, i, order.to(w.device), sign.to(w))
    return _row(parts)


def canonical_signs(
    architecture: Chain, w: Float[Tensor, " n params"]
) -> Float[Tensor, " n params"]:
    """Make the biases of all channels that may change sign positive; needs no reference.

    Of a bias of zero the channel's weights decide: their sum becomes positive. A bias near zero
    decides by chance, so `align`, which chooses signs by all weights, brings networks nearer.
    """
    parts = list(_parts(architecture, w))
    for i, may in enumerate(flips(architecture)):
        if may:
            weight, bias = parts[i]
            side = torch.where(bias == 0, weight.flatten(2).sum(2), bias)
            keep = torch.arange(bias.shape[1], device=w.device).expand_as(bias)
            _reorder(parts, i, keep, _sign(side).to(w))
    return _row(parts)


def _sign(x: Tensor) -> Tensor:
    """1 or -1, never 0."""
    return torch.where(x < 0, -1.0, 1.0)


def match(
    architecture: Chain,
    w: Float[Tensor, " n params"],
    reference: Float[Tensor, " params"],
    *,
    generator: torch.Generator,
) -> Relabelling:
    """The relabelling that brings each network near the reference.

    Layer after layer, in random order, the channels are assigned so that <w, reference> is as
    large as possible while all other layers stay; until no layer gains. Where a channel may
    change sign, the assignment is by |gain|. The distance falls with every step,
    |w - r|^2 = |w|^2 + |r|^2 - 2 <w, r>, but need not become the least there is.

    Source: Ainsworth et al. 2023, Git Re-Basin (arXiv:2209.04836), section 3.2 and algorithm 1;
    signs are ours.
    """
    own, ref = (list(_parts(architecture, x.double())) for x in (w, reference[None]))
    require_networks(w, "aligned", least=0)
    require_networks(reference[None], "reference")
    least = 1e-12 * w.double().norm(dim=1) * reference.double().norm()  # above rounding
    biases = [bias for _, bias in own[:-1]]
    orders = [torch.arange(b.shape[1], device=b.device).repeat(len(b), 1) for b in biases]
    new = Relabelling(orders, [torch.ones_like(b, dtype=torch.float32) for b in biases])
    gained = True
    while gained:
        gained = False
        for i in torch.randperm(len(new.orders), generator=generator).tolist():
            may = flips(architecture)[i]
            order, sign = _assign(_gain(own, ref, i), least, may=may)
            gained |= not torch.equal(order, order.sort(1).values) or bool((sign < 0).any())
            _reorder(own, i, order, sign)
            new.orders[i] = new.orders[i].gather(1, order)
            new.signs[i] = new.signs[i].gather(1, order) * sign.to(w)
    return new


def _gain(own: list[Part], ref: list[Part], i: int) -> Tensor:
    """What <w, reference> gets if one's own channel (last axis) stands for the reference's."""
    rows = [torch.cat([a.flatten(2), b[..., None]], 2) for a, b in (own[i], ref[i])]
    columns = [parts[i + 1][0].transpose(1, 2).flatten(2) for parts in (own, ref)]
    return rows[1] @ rows[0].mT + columns[1] @ columns[0].mT


def _assign(
    gain: Float[Tensor, " n channels channels"], least: Tensor, *, may: bool
) -> tuple[Int64[Tensor, " n channels"], Float[Tensor, " n channels"]]:
    """The best order and signs; as it was, where that gains no more than `least`."""
    worth = (gain.abs() if may else gain).detach().cpu().numpy()
    best = np.stack([linear_sum_assignment(one, maximize=True)[1] for one in worth])
    order = torch.from_numpy(best).to(gain.device)
    taken, now = gain.gather(2, order[..., None])[..., 0], gain.diagonal(dim1=1, dim2=2)
    sign = _sign(taken).to(gain) if may else torch.ones_like(taken)
    better = ((taken * sign).sum(1) > now.sum(1) + least)[:, None]
    keep = torch.arange(gain.shape[1], device=gain.device)
    return torch.where(better, order, keep), torch.where(better, sign, 1.0)


def align(
    architecture: Chain,
    w: Float[Tensor, " n params"],
    reference: Float[Tensor, " params"],
    *,
    generator: torch.Generator,
) -> Float[Tensor, " n params"]:
    """Networks relabelled as `match` says: the same functions, near the reference."""
    return relabel(architecture, w, match(architecture, w, reference, generator=generator))


def align_zoo(
    architecture: Chain,
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

        Source: Entezari et al. 2022 (arXiv:2110.06296), section 2; for ends of equal loss it is
        that of Ainsworth et al. 2023, section 2.
        """
        straight = torch.lerp(self.loss[:, :1], self.loss[:, -1:], self.alpha)
        return (self.loss - straight).amax(1)


def line(
    architecture: Network,
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
    if points < 3:
        raise ConfigError(f"want both ends and points between them, got {points=}")
    for w in (start, end):
        architecture.unflatten(w[:0])
    alpha = torch.linspace(0, 1, points, device=start.device)
    between = torch.lerp(start[:, None], end[:, None], alpha[:, None])
    accuracy, loss = score(architecture, between.flatten(0, 1), *data)
    shape = (len(start), points)
    return Line(alpha, loss.reshape(shape), accuracy.reshape(shape))
