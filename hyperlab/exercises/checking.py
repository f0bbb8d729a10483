"""What a check of a reader's answer is made of."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# (arguments, the right result, what stands in the hint's fields if not the arguments).
Cases = Iterable[tuple]


@dataclass(frozen=True)
class Verdict:
    """What a check says: passed, or what is still missing."""

    passed: bool
    message: str

    def __repr__(self) -> str:
        return f"{'passed' if self.passed else 'not yet'}: {self.message}"


class NotYet(Exception):  # noqa: N818 (not an error: an answer that is not there yet)
    """What was seen, what was expected, what to try; `check` turns it into a verdict."""


CHECKS: dict[str, Callable[[object], Verdict]] = {}  # of all notebooks, by name


def check(praise: str) -> Callable[[Callable[[object], None]], Callable[..., Verdict]]:
    """Make a check of a function that raises `NotYet` for an answer that is not right."""

    def decorate(examine: Callable[[object], None]) -> Callable[..., Verdict]:
        @functools.wraps(examine)
        def checked(answer: object) -> Verdict:
            try:
                examine(answer)
            except NotYet as reason:
                return Verdict(passed=False, message=str(reason))
            return Verdict(passed=True, message=praise)

        CHECKS[examine.__name__] = checked
        return checked

    return decorate


def table(
    praise: str, hint: str, *, rtol: float = 1e-5
) -> Callable[[Callable[[], Cases]], Callable[..., Verdict]]:
    """Make a check of a table of cases; a case without arguments: the answer is the result."""

    def decorate(cases: Callable[[], Cases]) -> Callable[..., Verdict]:
        @functools.wraps(cases)
        def examine(answer: object) -> None:
            for args, right, *fields in cases():
                own = [x.clone() if isinstance(x, Tensor) else x for x in args]
                found = answer(*own) if args else answer
                expect(found, right, f"({hint.format(*(fields or args))})", rtol=rtol)

        return check(praise)(examine)

    return decorate


def expect(found: object, expected: object, hint: str, *, rtol: float = 1e-5) -> None:
    """Compare numbers with the right ones, within rounding, and anything else exactly.

    Raises:
        NotYet: if it is missing, of another shape, or something else.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(expected):
            names = f"a dictionary of {list(expected)}"
            raise NotYet(f"found {found!r:.60}, expected {names}. {hint}")
        for name, numbers in expected.items():
            expect(found[name], numbers, f"Look at {name}. {hint}", rtol=rtol)
    elif isinstance(expected, Tensor | float | int) and not isinstance(expected, bool):
        _expect_numbers(found, torch.as_tensor(expected).double(), hint, rtol)
    elif found != expected:
        raise NotYet(f"found {found!r:.60}, expected {expected}. {hint}")


def _expect_numbers(found: object, expected: Tensor, hint: str, rtol: float) -> None:
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
