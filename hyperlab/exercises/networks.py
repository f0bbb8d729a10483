"""Checks of the answers in notebooks 10 to 12."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..models import cnn
from ..weights import align
from ..weights.couplings import optimal
from .checking import NotYet, check, expect


@check("rows here, columns there: the two changes cancel.")
def check_swap_units(swap: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """`swap(state)` -> the same function, hidden units 0 and 1 of fc1 swapped (notebook 10)."""
    net = cnn.cnn_small()
    g = torch.Generator().manual_seed(10)
    w = torch.randn(1, net.n_params, generator=g)
    keep = [torch.arange(layer.n_out)[None] for layer in net.layers[:-1]]
    keep[3] = keep[3].clone()
    keep[3][0, :2] = torch.tensor([1, 0])
    signs = [torch.ones(order.shape) for order in keep]
    right = net.unflatten(align.relabel(net, w, align.Relabelling(keep, signs))[0])
    state = {name: tensor.clone() for name, tensor in net.unflatten(w[0]).items()}
    found = swap(state)
    if not isinstance(found, Mapping) or set(found) != set(right):
        raise NotYet(f"found {found!r:.40}, expected a dictionary of {sorted(right)}.")
    for name, tensor in right.items():
        hint = f"(Look at {name}. What does the next layer read of a unit that has moved?)"
        expect(found[name], tensor, hint)


@check("the hill above the straight line between the two ends.")
def check_barrier(barrier: Callable[[Tensor], float]) -> None:
    """`barrier(losses)` -> of a walk in equal steps, both ends included (notebook 10)."""
    for losses in ([1.0, 2.0, 1.0], [0.5, 0.5, 1.5, 1.0], [2.0, 1.0, 0.0], [0.0, 1.0, 4.0]):
        values = torch.tensor(losses, dtype=torch.float64)
        straight = torch.lerp(
            values[0], values[-1], torch.linspace(0, 1, len(values)).double()
        )
        hint = f"(Losses {losses}: subtract the straight line from the first to the last.)"
        expect(barrier(values), (values - straight).max(), hint)


@check("far codes cost, and so do codes that are too sharp.")
def check_kl(kl: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`kl(mean, log_var)` -> KL(N(mean, exp(log_var)) | N(0, 1)), summed (notebook 11)."""
    for values, logs in (
        ([0.0, 0.0], [0.0, 0.0]),
        ([2.0], [0.0]),
        ([0.0, 1.0], [-2.0, 1.0]),
    ):
        mean, log_var = torch.tensor(values).double(), torch.tensor(logs).double()
        found = torch.distributions.Normal(mean, log_var.mul(0.5).exp())
        wanted = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
        right = torch.distributions.kl_divergence(found, wanted).sum()
        hint = (
            f"(mean {values}, log_var {logs}: half of mean^2 + exp(log_var) - 1 - log_var.)"
        )
        expect(kl(mean, log_var), right, hint)


@check("a channel takes all of its pixels along.")
def check_columns(columns: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`columns(weight, order)` -> what a linear map behind the flatten becomes (notebook 11)."""
    generator = torch.Generator().manual_seed(11)
    for channels, pixels in ((4, 9), (15, 4)):
        weight = torch.randn(20, channels * pixels, generator=generator)
        order = torch.randperm(channels, generator=generator)
        right = weight.reshape(20, channels, pixels)[:, order].flatten(1)
        hint = (
            f"({channels} channels of {pixels} pixels each: the first {pixels} columns belong "
            "to channel 0.)"
        )
        expect(columns(weight, order), right, hint)


@check("every target keeps one start, and all ways together are as short as can be.")
def check_coupling(couple: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`couple(x0, x1)` -> x0 in the order that makes the sum of |x0 - x1|^2 least (notebook 12)."""
    generator = torch.Generator().manual_seed(12)
    for n, dim in ((2, 1), (6, 2), (20, 8)):
        x0, x1 = torch.randn(2, n, dim, generator=generator)
        hint = (
            f"({n} points: scipy.optimize.linear_sum_assignment of the {n} x {n} squared "
            "distances, a row of each target, gives for each target the start that it keeps.)"
        )
        expect(couple(x0, x1), optimal(x0, x1), hint)


@check("shared mistakes, over all mistakes that either makes.")
def check_iou(iou: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`iou(a, b)` of two rows of "is it wrong?" (notebook 12)."""
    for a, b, right in (
        ("1100", "1010", 1 / 3),
        ("111", "111", 1.0),
        ("1000", "0111", 0.0),
    ):
        rows = [torch.tensor([mark == "1" for mark in word]) for word in (a, b)]
        hint = f"(Wrong on {a} and on {b}: how many images in both, how many in any?)"
        expect(iou(*rows), right, hint)
