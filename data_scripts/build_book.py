"""Build the executed course as a static site that needs neither kernel nor network."""

from pathlib import Path
from typing import Annotated

from hyperlab.base import SCALES, ConfigError
from hyperlab.views import figures

import typer
from tqdm.auto import tqdm

import script
from course import book

ROOT = Path(__file__).parents[1]


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    only: Annotated[str, typer.Option(help="numbers, e.g. 01,05; nothing: all")] = "",
    out: Annotated[Path, typer.Option(help="folder of the site")] = ROOT / "artifacts/book",
) -> None:
    """Run notebooks that changed since the last time, then write OUT/index.html."""
    every = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    wanted = script.words(only) or ("",)
    paths = [path for path in every if path.name.startswith(wanted)]
    if scale not in SCALES or not paths:
        have = ", ".join(path.name[:2] for path in every)
        raise ConfigError(f"have scales {', '.join(SCALES)} and notebooks {have}")
    site = book.Book(
        root=ROOT,
        out=out,
        plotly_js=figures.plotly_js(),
        parameters={"scale": scale, "seed": seed},
    )
    pages = book.build(site, paths, progress=tqdm)
    print(f"wrote {out / 'index.html'}, {len(pages)} pages")


if __name__ == "__main__":
    script.run(main)
