"""Checks of a reader's answers: every `check_*` returns a `Verdict`, and raises none.

`dynamics` has those of notebooks 00 to 09, `networks` those of 10 to 16.
"""

from collections.abc import Callable

from . import dynamics, networks
from .checking import CHECKS, NotYet, Verdict, expect

__all__ = ["NotYet", "Verdict", "dynamics", "expect", "networks", *CHECKS]


def __getattr__(name: str) -> Callable[[object], Verdict]:
    if name in CHECKS:
        return CHECKS[name]
    raise AttributeError(f"no check {name!r}; have {sorted(CHECKS)}")


def __dir__() -> list[str]:
    return __all__
