"""Checks of the answers in notebook 14."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..base import Velocity
from .checking import NotYet, check, expect

Walk = Callable[
    [Velocity, Tensor, int, int], Tensor
]  # (velocity, x, steps, knot) -> x at 1


@check("the same end, and a gradient that knows the last steps alone.")
def check_stopped_walk(walk: Walk) -> None:
    """`walk(velocity, x, steps, knot)` -> Euler's end; no gradient before step `knot`."""
    for steps, knot in ((4, 0), (5, 2), (6, 6)):
        a, x0 = torch.tensor([0.7, -1.2]).requires_grad_(), torch.tensor([1.0, 2.0])

        def velocity(t: Tensor | float, x: Tensor, a: Tensor = a) -> Tensor:
            return a * x * (1 + t)

        found, right = walk(velocity, x0, steps, knot), _right(velocity, x0, steps, knot)
        hint = f"({steps} steps, the first {knot} without gradient: "
        expect(found, right, hint + f"step k goes from t = k / {steps}, 1 / {steps} far.)")
        hint += "detach x when step `knot` begins, or if no step follows, at the end.)"
        expect(_slope(found, a), _slope(right, a), hint)


def _right(velocity: Velocity, x: Tensor, steps: int, knot: int) -> Tensor:
    for k in range(steps + 1):
        x = x.detach() if k == knot else x
        x = x + velocity(torch.tensor(k / steps), x) / steps if k < steps else x
    return x


def _slope(end: Tensor, a: Tensor) -> Tensor:
    if not isinstance(end, Tensor):
        raise NotYet(f"found a {type(end).__name__}, expected a tensor.")
    if not end.requires_grad:
        return torch.zeros_like(a)
    (slope,) = torch.autograd.grad(end.sum(), a, allow_unused=True, materialize_grads=True)
    return slope


@check("every network pays for its own steps, and no step more than the generator had.")
def check_equal_steps(equal_steps: Callable[[int, int, int, int], int]) -> None:
    """`equal_steps(updates, update_flops, n, step_flops)` -> whole steps for each network."""
    for updates, update, n, step in ((100, 1_500, 50, 60), (7, 10, 3, 9), (10, 12, 4, 30)):
        right = updates * update // (n * step)
        hint = (
            f"({updates} updates of {update} operations; {n} networks, {step} operations a "
            "step of one: all their steps together may cost no more.)"
        )
        expect(equal_steps(updates, update, n, step), right, hint)
