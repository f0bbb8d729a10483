"""Errors, named random streams, and the few types that every module shares."""

import hashlib
import os
import tempfile
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

T = TypeVar("T")
Where = TypeVar("Where", Path, str)
Velocity = Callable[[Tensor, Tensor], Tensor]  # f(t, x) -> dx/dt
SCALES = ("smoke", "laptop", "paper")
PRETRAINED = Path(__file__).parent / "pretrained"  # what comes with the package
CELL = "ipykernel_"  # in the file name that a kernel gives to a cell


class HyperlabError(Exception):
    """Root of every error that hyperlab raises on purpose.

    A notebook shows it without the page of traceback: the reader's own lines, the sentence, and
    where it was raised; `traceback.print_last()` shows the rest.
    """

    def __str__(self) -> str:
        return printable(super().__str__())

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [*brief(self), *_raised(self)]


class ConfigError(HyperlabError, ValueError):
    """An option is unknown, a value is out of range, or two values contradict each other."""


class DataMissingError(HyperlabError, FileNotFoundError):
    """Data or weights are not on disk; the message names the command that makes them."""


class ArtifactError(HyperlabError, RuntimeError):
    """A file or store is there but is truncated, foreign or of another target."""


def brief(error: BaseException) -> list[str]:
    """The lines of notebook cells that led to an error, and the error's sentence."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"line {f.lineno}: {f.line}" for f in frames if CELL in f.filename]
    return [*dict.fromkeys(lines), f"{type(error).__name__}: {error}"]


def _raised(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    at = [(f.name, f.lineno, Path(f.filename).name) for f in frames]
    return [f"(raised by {name}, line {line} of {file})" for name, line, file in at]


@runtime_checkable
class Progress(Protocol):
    """Wraps an iterable and shows how far it is, as `tqdm.auto.tqdm` does."""

    def __call__(self, items: Iterable[T], *, total: int, desc: str) -> Iterable[T]: ...


def silent(items: Iterable[T], *, total: int, desc: str) -> Iterable[T]:  # noqa: ARG001
    """The default progress: none."""
    return items


def tell(bar: Iterable[T], **counts: int) -> None:
    """Show counts beside a progress bar, where it has room for them as tqdm's has."""
    show = getattr(bar, "set_postfix", None)
    if show:
        show(counts)


def ahead(items: Iterator[T], *, n: int = 2) -> Iterator[T]:
    """The same items, made by a thread while the caller is busy; at most n of them wait."""
    end = object()
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, end) for _ in range(n))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, items, end))
            yield item


def choose(options: Mapping[str, T], name: str) -> T:
    """options[name], or an error that lists the names there are."""
    if name not in options:
        near = get_close_matches(str(name), map(str, options), 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"unknown option {name!r}; have {sorted(options)}{meant}")
    return options[name]


def distinct(items: Iterable[object], what: str) -> None:
    """An error if one of them comes twice: the same thing would be counted as two."""
    items = list(items)
    if twice := sorted({str(x) for x in items if items.count(x) > 1}):
        raise ConfigError(f"{what} {twice} come twice; want each once, got {items}")


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU random stream that depends on its name alone, not on what ran before it."""
    digest = hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def default_device() -> torch.device:
    """The accelerator if there is one. Called once, in the notebook or script."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def find_device(name: torch.device | str) -> torch.device:
    """The device of that name, or an error that lists the devices there are."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        have = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise ConfigError(
            f"no device {str(name)!r} here; have {have}: take that, or in a script --device auto"
        ) from error
    return torch.device(name)


def differences(was: object, now: object, name: str = "") -> list[str]:
    """The settings that differ, one sentence each: ["config.teacher.lr: was 10.0, is 0.03"].

    Nested mappings are compared key by key, lists of names by who comes and goes; a list and a
    tuple of the same items are equal, as JSON has it.
    """
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        pairs = {key: (was.get(key), now.get(key)) for key in (*was, *now)}
        found = [differences(*pair, f"{name}.{key}") for key, pair in pairs.items()]
        return [sentence.lstrip(".") for part in found for sentence in part]
    if isinstance(was, list | tuple) and isinstance(now, list | tuple):
        gone, new = ([x for x in a if x not in b] for a, b in ((was, now), (now, was)))
        if list(was) == list(now):
            return []
        if (gone or new) and len(was) + len(now) > 4:
            return [f"{name}: was with {gone}, is with {new}"]
    return [] if was == now else [f"{name}: was {was!r}, is {now!r}"]


def printable(name: object) -> str:
    """A path or text that can be printed and written anywhere: bytes that are no UTF-8 as \\xe9."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")


def expanded(path: Where) -> Where:
    """A path whose ~ is the home folder, as in a shell; an address such as s3://... as it is."""
    return type(path)(os.path.expanduser(path))  # noqa: PTH111


def writable(folder: Path | str) -> bool:
    """Whether files can be made in a folder, or in the nearest one above it that is there."""
    folder = Path(folder).absolute()
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        tempfile.TemporaryFile(dir=there).close()
    except OSError:
        return False
    return True


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """A temporary path that becomes `path` when the block ends well, and vanishes otherwise."""
    path = expanded(Path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
