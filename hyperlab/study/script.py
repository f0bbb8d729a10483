"""The frame of every data script: options in, one line of error out."""

import functools
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

from ..base import ConfigError, HyperlabError, default_device, find_device, whole_file
from ..crew import Crew

Scale = Annotated[str, typer.Option(help="smoke, laptop or paper")]
Seed = Annotated[int, typer.Option(help="of every random stream")]
Data = Annotated[Path | None, typer.Option(help="root of real data")]
Device = Annotated[str, typer.Option(help="cpu or cuda; auto: what there is")]
Backbone = Annotated[str, typer.Option(help="a target: vit_micro or timm's vit_*")]
ImageSize = Annotated[int, typer.Option(help="pixels; 0: the backbone's own")]
Share = Annotated[str, typer.Option(help="k/n: every n-th part from the k-th on")]
Workers = Annotated[int, typer.Option(help="processes; 0: one a core, or 4 a GPU")]
Scheduler = Annotated[str, typer.Option(help="of a Dask cluster, tcp://host:port")]


def run(main: Callable[..., None]) -> None:
    """Run `main` with the command line's options; our errors become one line and exit code 1."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )

    @functools.wraps(main)
    def stoppable(**options: object) -> None:
        try:
            main(**options)
        except KeyboardInterrupt:
            typer.echo(
                "\nstopped; what is whole is kept, most scripts go on from there", err=True
            )
            raise typer.Exit(130) from None  # as a shell counts Ctrl-C

    app.command()(stoppable)
    try:
        app()
    except (HyperlabError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def command() -> str:
    """The command line that runs, ready to be pasted: what stands beside every number."""
    return shlex.join(["python", *sys.argv])


def keep(path: Path, found: object, table: str) -> None:
    """Facts as `path`, JSON, and the same for people beside it, as .md; each file whole."""
    with whole_file(path) as draft:
        draft.write_text(json.dumps(found, indent=1) + "\n")
    with whole_file(path.with_suffix(".md")) as draft:
        draft.write_text(table)


def words(text: str) -> tuple[str, ...]:
    """ "a, b" -> ("a", "b"); nothing -> ()."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def share(text: str) -> tuple[int, int]:
    """ "0/2" -> (0, 2).

    Raises:
        ConfigError: it does not read like that, or k is not below n.
    """
    k, slash, n = text.partition("/")
    if not (slash and k.isdigit() and n.isdigit() and int(k) < int(n)):
        raise ConfigError(f"a share is k/n with k < n, e.g. 0/2 and 1/2; got {text!r}")
    return int(k), int(n)


def crew(part: str, workers: int, scheduler: str, device: torch.device) -> Crew:
    """Who does the work, from the options `Share`, `Workers` and `Scheduler`."""
    n = workers or (4 if device.type == "cuda" else os.cpu_count()) or 1
    return Crew(share=share(part), workers=n, scheduler=scheduler or None)


def place(name: str) -> torch.device:
    """ "auto" -> what there is; else the device of that name.

    Raises:
        ConfigError: no such device here.
    """
    return default_device() if name == "auto" else find_device(name)
