"""What a check of a reader's answer is made of."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


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
    shape = tuple(expected.shape)
    kind = f"numbers of shape {shape}" if shape else "a number"
    if found is None or found is ...:
        dots = "..." if found is ... else found
        raise NotYet(f"there is no answer yet: found {dots}, expected {kind}. {hint}")
    try:
        found = torch.as_tensor(found, dtype=expected.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise NotYet(f"found a {type(found).__name__}, expected {kind}. {hint}") from error
    if found.shape != expected.shape:
        raise NotYet(f"found shape {tuple(found.shape)}, expected {shape}. {hint}")
    if not torch.allclose(found, expected, rtol=rtol, atol=1e-8):
        raise NotYet(f"found {_short(found)}, expected {_short(expected)}. {hint}")


def _short(numbers: Tensor) -> str:
    shown = ", ".join(f"{number:.4g}" for number in numbers.flatten()[:4].tolist())
    return f"{shown}, ..." if numbers.numel() > 4 else shown
