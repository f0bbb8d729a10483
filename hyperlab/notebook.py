"""What a kernel says to the reader of a notebook when a cell cannot run.

Both functions are called once, in the cell that is the same in every notebook; importing changes
nothing. Errors that hyperlab raises itself are short in a notebook without them.
"""

import symtable
import sys
import traceback
import warnings
from types import TracebackType
from typing import Any

import torch

from .base import SCALES, ConfigError, brief

ABOVE = "run the cells above first (Run > Run All Above Selected Cell)"


def explain_errors() -> None:
    """A name that no cell has set yet is answered with what to do; nothing outside a kernel.

    IPython keeps one handler of its own for chosen errors: this takes it, for NameError.
    """
    ipython = sys.modules.get("IPython")
    if ipython and (shell := ipython.get_ipython()):
        shell.set_custom_exc((NameError,), _show)


def check(scale: str) -> None:
    """Refuse a scale that there is not; say what "paper" means without an accelerator.

    Raises:
        ConfigError: the scale is none of `SCALES`.
    """
    if scale not in SCALES:
        have = ", ".join(SCALES)
        raise ConfigError(f"no scale {scale!r}; have {have}: correct the cell that sets it")
    if scale == "paper" and not torch.cuda.is_available():
        words = 'scale = "paper" takes days without a GPU, and there is none here; take "laptop"'
        warnings.warn(words, stacklevel=2)


def _show(
    shell: Any,
    kind: type[BaseException],
    error: NameError,
    trace: TracebackType,
    tb_offset: int | None = None,
) -> None:
    """Show the error as IPython does, or in two lines if its cell was run too early."""
    if _too_early(shell, error, trace):
        words = f"`{error.name}` is not there yet: {ABOVE}, or correct the name"
        lines = [*brief(error)[:-1], f"NameError: {words}"]
        error._render_traceback_ = lambda: lines
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)


def _too_early(shell: Any, error: NameError, trace: TracebackType) -> bool:
    """Whether the cell itself asked for a name, no function did, and no cell has set it."""
    last = [frame for frame, _ in traceback.walk_tb(trace)][-1]
    of_cell = last.f_globals is shell.user_ns and last.f_code.co_name.startswith("<")
    return of_cell and not any(error.name in _names(cell) for cell in _before(shell))


def _before(shell: Any) -> list[str]:
    """The cells that were run before this one; the same cell run again does not count."""
    *cells, this = shell.user_ns["In"]
    return [cell for cell in cells if cell != this]


def _names(cell: str) -> set[str]:
    """What a cell sets or imports outside its functions."""
    try:
        table = symtable.symtable(cell, "cell", "exec")
    except SyntaxError:
        return set()
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
