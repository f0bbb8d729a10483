"""What is known of a named domain before it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .formats import Part


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to download."""

    name: str  # on disk, in the folder of its data set
    urls: tuple[str, ...]  # the same bytes at each; tried in order
    digest: str  # "md5:..." or "sha256:..."
    unpack: bool = False  # a zip or tar archive that is read unpacked


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a named domain before it is read."""

    n_classes: int
    licence: str
    source: str  # address of the official source
    read: Callable[[Path], Part] | None = None  # reader of the official files
    marks: tuple[str, ...] = ()  # files or folders of which one shows that they are there
    files: tuple[RemoteFile, ...] = ()  # empty: no automatic download
    folder: str = ""  # below the root, if it is not the domain's name
    embedded: bool = False  # part of an installed package: no files at all
    how: str = ""  # how to get the files, where it takes more than a download


NONE_STATED = "none stated"
