"""Write the course without its solutions, to work in."""

import copy
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from hyperlab.base import ConfigError

import typer

import script
from course import runner
from course.runner import NotebookNode

THERE = "The solution follows this check in [{name}]({link})."


def without_solutions(notebook: NotebookNode, name: str, link: str) -> NotebookNode:
    """A copy whose solution cells say where the solution stands; all else is as it was.

    Args:
        name: of the notebook that holds the solutions, as the reader knows it.
        link: to that notebook, from where the copy will lie.

    Raises: ArtifactError for a check without its stub or its solution.
    """
    found = copy.deepcopy(notebook)
    for _, _, hidden in runner.exercises(found.cells):
        runner.solution(hidden)
        hidden.source = THERE.format(name=name, link=link)
    return found


def write(paths: Sequence[Path], out: Path) -> list[Path]:
    """The reader edition of some notebooks as the new folder `out`, whole or not at all.

    Notebooks read `../results` and link each other, so `out` should lie beside their folder.

    Returns: the files, in the order of `paths`.

    Raises:
        ConfigError: no notebooks; or `out` is there, for a reader's answers may be in it.
        ArtifactError: a check without its stub or its solution.
    """
    if not paths:
        raise ConfigError("have no notebooks to write a reader edition of")
    if out.exists():
        raise ConfigError(
            f"{out} is there and may hold your answers; move it away, or take another --out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        draft = Path(folder, out.name)
        for path in paths:
            link = quote(Path(os.path.relpath(path, out)).as_posix())
            edition = without_solutions(runner.read(path), path.name, link)
            runner.save(edition, draft / path.name)
        draft.rename(out)
    return [out / path.name for path in paths]


ROOT = Path(__file__).parents[1]


def main(
    out: Annotated[
        Path, typer.Option(help="A new folder; beside notebooks/, whose paths hold there.")
    ] = ROOT / "exercises",
    only: Annotated[str, typer.Option(help="Those whose names begin so: 05.")] = "",
) -> None:
    """notebooks/*.ipynb with a pointer in place of every solution; an old copy is kept."""
    paths = sorted((ROOT / "notebooks").glob(f"{only}*.ipynb"))
    for path in write(paths, out):
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    script.run(main)
