"""The frame of every data script: options in, one line of error out."""

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from hyperlab.base import (
    SCALES,
    ConfigError,
    HyperlabError,
    choose,
    default_device,
    distinct,
    expanded,
    find_device,
    writable,
)
from hyperlab.executor import Executor

import torch
import typer

Scale = Annotated[str, typer.Option(help="smoke, laptop or paper")]
Seed = Annotated[int, typer.Option(help="of every random stream")]
Data = Annotated[Path | None, typer.Option(help="root of real data")]
Device = Annotated[str, typer.Option(help="cpu or cuda; auto: what there is")]
Backbone = Annotated[str, typer.Option(help="a target: vit_micro or timm's vit_*")]
ImageSize = Annotated[int, typer.Option(help="pixels; 0: the backbone's own")]
NTasks = Annotated[int, typer.Option(help="per domain; 0: the usual number, 2 at smoke")]
Share = Annotated[str, typer.Option(help="k/n: every n-th part from the k-th on")]
Workers = Annotated[int, typer.Option(help="processes; 0: one a core, or 4 a GPU")]
Scheduler = Annotated[str, typer.Option(help="of a Dask cluster, tcp://host:port")]
OUTPUTS = ("out", "rows", "folder", "ship", "keep")  # options that name what is written
LEAST = {"n_tasks": 0, "n_networks": 0, "repeats": 1, "threads": 1, "workers": 0}


def run(main: Callable[..., None]) -> None:
    """Run `main` with the command line's options; our errors become one line and exit code 1."""
    for out in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # not a stream of text
            out.reconfigure(errors="backslashreplace")  # for what a terminal cannot show
    try:
        app(main)()
    except (HyperlabError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def app(main: Callable[..., None]) -> typer.Typer:
    """The command line of a script."""
    found = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )

    @functools.wraps(main)
    def stoppable(**options: object) -> None:
        try:
            given = {name: _expanded(value) for name, value in options.items()}
            check(main, given)
            main(**given)
        except KeyboardInterrupt:
            typer.echo(
                "\nstopped; what is whole is kept, most scripts go on from there", err=True
            )
            raise typer.Exit(130) from None  # as a shell counts Ctrl-C

    found.command()(stoppable)
    return found


def check(main: Callable[..., None], options: Mapping[str, object]) -> None:
    """What every script wants of its options before it works.

    Raises:
        ConfigError: an unknown scale, a number of tasks below 0, or an output that could not be
            written when all is done.
    """
    if "scale" in options:
        choose(dict.fromkeys(SCALES), options["scale"])
    for name, least in LEAST.items():
        if (number := options.get(name)) is not None and number < least:
            raise ConfigError(f"{_flag(name)} is {least} or more, got {number}")
    for name in OUTPUTS:
        if (place := options.get(name)) and "://" not in str(place):
            usual = inspect.signature(main).parameters[name].default
            is_file = isinstance(usual, str | Path) and bool(Path(usual).suffix)
            _check_output(_flag(name), Path(place), is_file=is_file)


def _check_output(option: str, path: Path, *, is_file: bool) -> None:
    if is_file and path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; name a file, e.g. in that folder")
    if not writable(path if path.is_dir() else path.parent):
        raise ConfigError(f"{option} {path} cannot be written to; name a place that can")


def _flag(name: str) -> str:
    """ "n_tasks" -> "--n-tasks"."""
    return f"--{name.replace('_', '-')}"


def no_effect(*flags: str, why: str, when: object = True) -> None:
    """Refuse options of the command line that would change nothing.

    Args:
        when: whether they have no effect.

    Raises:
        ConfigError: one of them was given.
    """
    words = {word.partition("=")[0] for word in sys.argv[1:]}
    if when and (given := [f for f in flags if f in words]):
        raise ConfigError(f"{', '.join(given)} would change nothing: {why}; leave it out")


def _expanded(option: object) -> object:
    """ "a=~/b,~/c" as a shell reads ~/b and ~/c, which it leaves to us after = and commas."""
    if isinstance(option, Path):
        return expanded(option)
    if isinstance(option, str):
        return re.sub(r"(?<![^,;=\s])~(?=/|$)", lambda _: expanded("~"), option)
    return option


def words(text: str) -> tuple[str, ...]:
    """ "a, b" -> ("a", "b"); nothing -> ()."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def by_stem(paths: str) -> dict[str, str]:
    """ "a/zoo,digits" -> {"zoo": "a/zoo", "digits": "digits"}; ConfigError: a name comes twice."""
    distinct([Path(path).stem for path in words(paths)], "names of zoos")
    return {Path(path).stem: path for path in words(paths)}


def share(text: str) -> tuple[int, int]:
    """ "0/2" -> (0, 2).

    Raises:
        ConfigError: it does not read like that, or k is not below n.
    """
    k, slash, n = text.partition("/")
    if not (slash and k.isdigit() and n.isdigit() and int(k) < int(n)):
        raise ConfigError(f"a share is k/n with k < n, e.g. 0/2 and 1/2; got {text!r}")
    return int(k), int(n)


def n_tasks(given: int, scale: str, usual: int) -> int:
    """Tasks per domain: those asked for, else two at smoke scale, else the usual number.

    Raises:
        ConfigError: scale "paper", at which nothing would be other than at "laptop".
    """
    why = "laptop has as many tasks; --n-tasks asks for more"
    no_effect("--scale", when=scale == "paper", why=why)
    return given or (2 if scale == "smoke" else usual)


def numbers(text: str, option: str, *, n: int = 0) -> tuple[int, ...]:
    """ "1, 2" -> (1, 2).

    Args:
        n: how many there must be; 0: any, but no number twice.

    Raises:
        ConfigError: they are no such whole numbers.
    """
    found = words(text)
    right = len(found) == n if n else found and len({*found}) == len(found)
    if not right or not all(word.isdigit() for word in found):
        wanted = f"{n} numbers" if n else "different numbers"
        raise ConfigError(
            f"{option} takes {wanted} such as {'6,7,8'[: 2 * (n or 3) - 1]}; got {text!r}"
        )
    return tuple(map(int, found))


def executor(part: str, workers: int, scheduler: str, device: torch.device) -> Executor:
    """Who does the work, from the options `Share`, `Workers` and `Scheduler`."""
    no_effect(
        "--workers", "--device", when=scheduler, why="a cluster's workers have their own"
    )
    n = workers or (4 if device.type == "cuda" else os.cpu_count()) or 1
    return Executor(share=share(part), workers=n, scheduler=scheduler or None)


def place(name: str) -> torch.device:
    """ "auto" -> what there is; else the device of that name.

    Raises:
        ConfigError: no such device here.
    """
    return default_device() if name == "auto" else find_device(name)


def spare_a_core() -> None:
    """Leave a core to the thread that reads; called once, by a script that trains from a stream.

    With all cores on the model its threads wait for each other while one of them reads: on two
    cores a step took 0.086 s with two threads and 0.060 s with one (`bench_feeding.py`).
    """
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
