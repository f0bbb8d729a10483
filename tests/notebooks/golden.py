"""Golden cells: what they print at smoke scale is kept in the notebook, and compared."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from course import runner
from course.runner import tags

from tests.notebooks.files import SMOKE


def printed(cell) -> dict[str, str]:
    """Stream name -> everything that the cell printed to it.

    Raises: ValueError if the cell has an output that is not text: only text is compared.
    """
    text = {}
    for output in cell.outputs:
        if output.output_type != "stream":
            raise ValueError(f"a golden cell prints, it does not show: {cell.source}")
        text[output.name] = text.get(output.name, "") + output.text
    return text


def differences(kept: Path, executed: Path) -> Iterator[str]:
    """Of each golden cell of notebook `kept` that printed something else in the copy."""
    fresh = {cell.id: cell for cell in runner.read(executed).cells}
    for cell in runner.read(kept).cells:
        if "nbval-check-output" in tags(cell):
            before, after = printed(cell), printed(fresh[cell.id])
            if before != after:
                yield f"{cell.source}\nkept {before}\nprinted {after}"


def by_nbval(path: Path) -> subprocess.CompletedProcess:
    """nbval over a copy at smoke scale that ends with the last golden cell."""
    copy = path.with_name(f"golden_{path.name}")
    notebook = runner.prepare(path, copy, SMOKE)
    golden = [i for i, c in enumerate(notebook.cells) if "nbval-check-output" in tags(c)]
    notebook.cells = notebook.cells[: golden[-1] + 1]
    for place in golden:  # nbval compares only what claims to have been run
        notebook.cells[place].execution_count = 1
    nbformat.write(notebook, copy)
    (path.parent / "none.ini").write_text("[pytest]\n", encoding="utf-8")
    options = ["--nbval-lax", "--nbval-cell-timeout=180", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", copy.name, "-q", "-c", "none.ini", *options]
    with runner.environment(SMOKE):
        return subprocess.run(
            command, cwd=path.parent, capture_output=True, text=True, encoding="utf-8"
        )
