"""Write the course without its solutions, to work in."""

from pathlib import Path
from typing import Annotated

from hyperlab.study import reader_edition, script

import typer

ROOT = Path(__file__).parents[1]


def main(
    out: Annotated[
        Path, typer.Option(help="A new folder; beside notebooks/, whose paths hold there.")
    ] = ROOT / "exercises",
    only: Annotated[str, typer.Option(help="Those whose names begin so: 05.")] = "",
) -> None:
    """notebooks/*.ipynb with a pointer in place of every solution; an old copy is kept."""
    paths = sorted((ROOT / "notebooks").glob(f"{only}*.ipynb"))
    for path in reader_edition.write(paths, out):
        typer.echo(f"wrote {path}")


if __name__ == "__main__":
    script.run(main)
