"""The frame of every data script: options in, one line of error out."""

import sys
from collections.abc import Callable

import typer

from ..base import HyperlabError


def run(main: Callable[..., None]) -> None:
    """Run `main` with the command line's options; our errors become one line and exit code 1."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.command()(main)
    try:
        app()
    except (HyperlabError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
