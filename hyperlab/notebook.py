"""What a kernel says to the reader when a cell cannot run, and where the course's files lie.

`explain_errors` and `check` are called once, in the cell that is the same in every notebook. Errors
that hyperlab raises itself are short in a notebook without them.
"""

import os
import symtable
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from .base import SCALES, ConfigError, DataMissingError, brief, writable

# What the networks of a scale keep busy; on a GPU machine: every core.
THREADS = {"smoke": 1, "laptop": 2}
ABOVE = "run the cells above first (Run > Run All Above Selected Cell)"


def explain_errors() -> None:
    """A name that no cell has set yet is answered with what to do; nothing outside a kernel.

    IPython keeps one handler of its own for chosen errors: this takes it, for NameError.
    """
    ipython = sys.modules.get("IPython")
    if ipython and (shell := ipython.get_ipython()):
        shell.set_custom_exc((NameError,), _show)


def check(scale: str) -> None:
    """Refuse a scale that there is not; say what "paper" takes.

    Torch gets as many threads as the networks of the scale keep busy, so that many kernels can
    share a machine, unless OMP_NUM_THREADS says how many.

    Raises:
        ConfigError: the scale is none of `SCALES`.
    """
    if scale not in SCALES:
        have = ", ".join(SCALES)
        raise ConfigError(f"no scale {scale!r}; have {have}: correct the cell that sets it")
    if scale == "paper":
        words = 'scale = "paper" takes days without a GPU, and no notebook uses one; take "laptop"'
        warnings.warn(words, stacklevel=2)
    if "OMP_NUM_THREADS" not in os.environ and scale in THREADS:
        torch.set_num_threads(min(THREADS[scale], torch.get_num_threads()))


def repository() -> Path | None:
    """The folder of the course: around this package, else around the working folder, else none."""
    cwd = Path.cwd()
    for folder in (Path(__file__).parents[1], cwd, *cwd.parents):
        if (folder / "results").is_dir() and (folder / "data_scripts").is_dir():
            return folder
    return None


def results(name: str = "") -> Path:
    """The committed evidence or a file of it, wherever a notebook runs: `results/` of the course.

    Raises:
        DataMissingError: neither the package nor the working folder lies in a clone.
    """
    if (root := repository()) is None:
        raise DataMissingError(
            f"no folder `results` of the course around {Path(__file__).parent} or {Path.cwd()}: "
            "run the notebook inside a clone of hyperlab, or install it with: pip install -e ."
        )
    return root / "results" / name


def artifacts(name: str) -> Path:
    """A folder to keep what takes long to make: `artifacts/NAME` of the course.

    Outside a clone that of the working folder; where neither can be written to, one for temporary
    files, with a warning.
    """
    place = (repository() or Path.cwd()) / "artifacts" / name
    if writable(place):
        return place
    other = Path(tempfile.gettempdir()) / "hyperlab" / name
    warnings.warn(f"{place} cannot be written to; kept in {other} instead", stacklevel=2)
    return other


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
