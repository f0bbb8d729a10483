"""Checks of a reader's answers: every `check_*` returns a `Verdict`, and raises none."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import solvers


@dataclass(frozen=True)
class Verdict:
    """What a check says: passed, or what is still missing."""

    passed: bool
    message: str

    def __repr__(self) -> str:
        return f"{'passed' if self.passed else 'not yet'}: {self.message}"


class NotYet(Exception):  # noqa: N818 (not an error: an answer that is not there yet)
    """What was seen, what was expected, what to try; `check` turns it into a verdict."""


def check(praise: str) -> Callable[[Callable[..., None]], Callable[..., Verdict]]:
    """Make a check of a function that raises `NotYet` for an answer that is not right."""

    def decorate(examine: Callable[..., None]) -> Callable[..., Verdict]:
        @functools.wraps(examine)
        def checked(answer: object) -> Verdict:
            try:
                examine(answer)
            except NotYet as reason:
                return Verdict(passed=False, message=str(reason))
            return Verdict(passed=True, message=praise)

        return checked

    return decorate


def expect(
    found: object, expected: Tensor | float | int, hint: str, *, rtol: float = 1e-5
) -> None:
    """Compare a number or tensor with the right one.

    Raises:
        NotYet: if it is missing, of another shape, or has other numbers.
    """
    expected = torch.as_tensor(expected).double()
    if found is None or found is ...:
        raise NotYet(f"there is no answer yet (found {found}). {hint}")
    try:
        found = torch.as_tensor(found, dtype=expected.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotYet(f"found a {type(found).__name__}, expected numbers. {hint}") from error
    if found.shape != expected.shape:
        shapes = f"shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
        raise NotYet(f"found {shapes}. {hint}")
    if not torch.allclose(found, expected, rtol=rtol, atol=1e-8):
        raise NotYet(f"found {_short(found)}, expected {_short(expected)}. {hint}")


def _short(numbers: Tensor) -> str:
    shown = ", ".join(f"{number:.4g}" for number in numbers.flatten()[:4].tolist())
    return f"{shown}, ..." if numbers.numel() > 4 else shown


@check("your step is Heun's: halve it and the error falls to a quarter.")
def check_heun_step(step: Callable[..., Tensor]) -> None:
    """`step(f, t, x, dt)` -> the state after one step of Heun's method (notebook 01)."""
    x, dt = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor(0.25).double()
    fields = {
        "dx/dt = -x": lambda t, x: -x,
        "dx/dt = t x": lambda t, x: t * x,
        "dx/dt = x^2 + t": lambda t, x: x**2 + t,
    }
    for name, f in fields.items():
        for start in (0.0, 0.5):
            t = torch.tensor(start).double()
            right = solvers.heun_step(f, t, x, dt)
            hint = f"(For {name} at t = {start}, x = (1, -2, 0.5) and dt = 0.25: "
            expect(step(f, t, x, dt), right, hint + "average both velocities.)")


@check("beyond 2 / (largest curvature) every step makes the steep direction larger.")
def check_largest_step(answer: object) -> None:
    """The learning rate at which GD on curvatures (1, 25) stops shrinking (notebook 01)."""
    hint = "(One step multiplies a direction of curvature c by 1 - lr c: when is that -1?)"
    expect(answer, 2 / 25, hint, rtol=1e-3)


@check("your rule gives every image to the class whose mean is nearest.")
def check_nearest_mean(nearest: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`nearest(images, means)` -> for each image the number of the nearest mean (00)."""
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 1.0]])
    images = torch.tensor([[6.0, 0.0], [0.1, 0.6], [0.2, 0.1], [4.0, 0.9]])
    hint = (
        "(Four images of two pixels, means (0, 0), (10, 0), (0, 1): take the argmin over "
    )
    expect(nearest(images, means), torch.tensor([1, 2, 0, 2]), hint + "the means, dim=1.)")


@check("the smallest class decides, and no class gives more than ten queries.")
def check_query_rule(n_query: Callable[[Tensor], int]) -> None:
    """`n_query(counts)` -> Meta-Dataset's number of queries of each class (notebook 02)."""
    for counts, right in (
        ([60] * 8, 10),
        ([600, 7, 40], 3),
        ([30, 13, 90], 6),
        ([2, 2], 1),
    ):
        hint = (
            f"(Classes of {counts} images: half of the smallest class, rounded down, and "
        )
        expect(n_query(torch.tensor(counts)), right, hint + "at most 10.)")


@check("half the interval costs four times the episodes.")
def check_episodes_needed(needed: Callable[[float, float], int]) -> None:
    """`needed(std, half_width)` -> smallest n with 1.96 std / sqrt(n) <= half_width (02)."""
    for std, half_width, right in (
        (0.08, 0.01, 246),
        (0.08, 0.005, 984),
        (0.1, 0.002, 9604),
    ):
        hint = (
            f"(std = {std}, half width {half_width}: solve 1.96 std / sqrt(n) = half width "
        )
        expect(needed(std, half_width), right, hint + "for n and round up.)")
