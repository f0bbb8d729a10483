"""Download real image sets with published hashes; an interrupted one goes on."""

from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, HyperlabError
from hyperlab.tasks import domains
from hyperlab.tasks.catalogue import CATALOGUE
from hyperlab.tasks.download import download

import typer
from tqdm.auto import tqdm

import script

OUT = "Root folder, one sub-folder a data set (default: HYPERLAB_DATA if set, else data)."


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Data sets, see --list.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that have hashes.")] = False,
    out: Annotated[Path | None, typer.Option(help=OUT)] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show the data sets and stop.")
    ] = False,
) -> None:
    """Download the named data sets, hashes checked, into a folder that hyperlab reads."""
    if bool(names) + every + show > 1:
        raise ConfigError(
            "name data sets, or --all of them, or --list what there is: one of these"
        )
    if show:
        return table(domains.data_root(out))
    names = [n for n, entry in CATALOGUE.items() if entry.files] if every else names
    if not names:
        typer.echo("name one or more data sets, or --all; --list shows them", err=True)
        raise typer.Exit(2)
    folders, failed = {}, False
    for name in names:
        try:
            folders |= {p.parent: None for p in download(name, root=out, progress=tqdm)}
        except HyperlabError as error:
            failed = True
            typer.echo(f"{name}: {error}", err=True)
    typer.echo(f"wrote {', '.join(map(str, folders)) or 'nothing'}")
    raise typer.Exit(int(failed))


def table(root: Path) -> None:
    """One line a data set: is it here, how to get it, classes, licence, source."""
    present = domains.available(root)
    for name, entry in CATALOGUE.items():
        state = "here" if name in present else "download" if entry.files else "by hand"
        line = f"{name:20}{state:10}{entry.n_classes:5}  {entry.licence}  {entry.source}"
        typer.echo(line)


if __name__ == "__main__":
    script.run(main)
