"""Folders of images as people have them: every file is an image of a class or says why not."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..base import ConfigError, printable
from .parts import SPLITS, TRAIN, Part, listed

SUFFIXES = {
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    *(".pbm", ".pgm", ".ppm"),
}
ASIDE = {  # folders that programs put between the images; those with a dot are hidden anyway
    *("thumbs", "_thumbs", "thumbnails", "_thumbnails", "__macosx", "__pycache__"),
    *("@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information"),
    "lost+found",
}
PART = re.compile(
    r"(?:(train)(?:ing)?|(test)(?:ing)?|(val)(?:id|idation)?)(?:[ _-]?(?:set|data|images))?"
)
LINK = "a link to a folder that is read in its own place, or lies around the link"


class Note(NamedTuple):
    """A file or class folder, and what was done to it or why it was left out."""

    file: str
    what: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Folder:
    """Class folders and every file below them.

    Args:
        images: class, file and split number (see `parts.SPLITS`) of every image file.
        has_split: whether the class folders lie in folders called train, test or val.
        merged: class folders that were not taken literally.
        left_out: files that are no image of a class; with `images`, every file there is.
    """

    path: Path
    images: list[tuple[str, Path, int]]
    class_names: tuple[str, ...]
    has_split: bool
    merged: list[Note]
    left_out: list[Note]

    @property
    def part(self) -> Part:
        return listed(self.path, self.images, self.class_names, has_split=self.has_split)


def scan(path: Path) -> Folder:
    """A folder of class folders, or of train, test and val folders with class folders.

    Images may lie deeper inside a class folder. Links are followed, each folder is read once.
    """
    inside = {os.path.realpath(folder) for folder, _, _ in os.walk(path)}
    files = _below(path, "", inside, {os.path.realpath(path)})
    entries = [(file, file.relative_to(path).parts, why) for file, why in files]
    links = {file for file, _, why in entries if why == LINK}
    tops = [top for top in _folders(path) if top not in links]
    split = _has_split(path, tops, {parts for _, parts, why in entries if not why})
    parts = [top for top in tops if _part(top.name)]
    places = [folder for top in parts for folder in _folders(top)] if split else tops
    if not places:
        wanted = f"each of {[printable(top.name) for top in tops]}" if split else str(path)
        raise ConfigError(
            f"{wanted} has no sub-folders; want one folder of images for each class"
        )
    images, left_out = [], []
    for file, names, why in entries:
        if why := why or _of_no_class(names, split):
            left_out.append(Note(printable(Path(*names)), why))
        else:
            number = SPLITS[_part(names[0])] if split else TRAIN
            images.append((class_name(names[split]), file, number))
    return Folder(
        path=path,
        images=images,
        class_names=tuple(sorted({class_name(place.name) for place in places})),
        has_split=split,
        merged=[*_merged(path, places), *_nested(path, images, 2 + split)],
        left_out=left_out,
    )


def class_name(folder: str) -> str:
    """What the class of a folder is called: printable, composed (NFC), without outer blanks."""
    return unicodedata.normalize("NFC", printable(folder)).strip() or printable(folder)


def _below(
    folder: Path, why: str, inside: set[str], seen: set[str]
) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, and why it is no image of it as far as its place says."""
    for entry in sorted(folder.iterdir()):
        reason = why or _aside(entry)
        if entry.is_dir():
            place = os.path.realpath(entry)
            around = os.path.commonpath([place, os.path.realpath(folder)]) == place
            if place in seen or (entry.is_symlink() and (place in inside or around)):
                yield entry, LINK
                continue
            seen.add(place)
            reason = reason and (why or f"in {printable(entry.name)}, {reason}")
            yield from _below(entry, reason, inside, seen)
        else:
            dangling = "" if entry.is_file() else "a link to nothing, or no file"
            yield entry, reason or dangling


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not _aside(p))


def _aside(entry: Path) -> str:
    if entry.name.startswith("."):
        return "hidden"
    is_aside = entry.name.lower() in ASIDE and entry.is_dir()
    return "a folder of thumbnails or of a program" if is_aside else ""


def _part(name: str) -> str:
    """ "Training" -> "train", "val_set" -> "val"; nothing for another name."""
    found = PART.fullmatch(name.lower())
    return next(filter(None, found.groups())) if found else ""


def _has_split(path: Path, tops: list[Path], files: set[tuple[str, ...]]) -> bool:
    """Whether folders called train, test or val are the parts of the set, and no classes."""
    images = {parts for parts in files if Path(parts[-1]).suffix.lower() in SUFFIXES}
    direct = {parts[0] for parts in images if len(parts) == 2}
    deep = {parts[0] for parts in images if len(parts) > 2}
    named = {top.name for top in tops if _part(top.name)}
    others = {top.name for top in tops} - named
    if len({_part(name) for name in named}) > 1 or not others:
        return bool(named)
    if not (parts := named & deep - direct) or not others & (direct | deep):
        return bool(parts)
    raise ConfigError(
        f"{path}: is {sorted(named)[0]!r}, which holds folders, a class beside "
        f"{[printable(name) for name in sorted(others)[:3]]} or the part to train or test on? "
        "Rename it, or move the others away or into it"
    )


def _of_no_class(parts: tuple[str, ...], split: bool) -> str:
    if split and len(parts) > 1 and not _part(parts[0]):
        return "lies beside the folders of train and test"
    if Path(parts[-1]).suffix.lower() not in SUFFIXES:
        return "by its name no image"
    return "lies in no class folder" if len(parts) < 2 + split else ""


def _merged(path: Path, places: list[Path]) -> Iterator[Note]:
    """Class folders whose names look alike: with blanks or composed otherwise, or by case."""
    spelled, alike = defaultdict(set), defaultdict(set)
    for place in places:
        name = class_name(place.name)
        spelled[name].add(place.name)
        alike[name.casefold()].add(name)
        if place.name != name:
            yield Note(printable(place.relative_to(path)), f"its class is {name!r}")
    for name, folders in spelled.items():
        if len(folders) > 1:
            yield Note(
                name, f"{len(folders)} folders with names that look alike, one class"
            )
    for first, *others in map(sorted, alike.values()):
        if others:
            yield Note(first, f"differs by case alone from {others}; read as classes apart")


def _nested(path: Path, images: list[tuple[str, Path, int]], depth: int) -> Iterator[Note]:
    """Class folders whose images lie in sub-folders, which may have been meant as classes."""
    inner = defaultdict(set)
    for name, file, _ in images:
        parts = file.relative_to(path).parts
        if len(parts) > depth:
            inner[name].add(printable(parts[depth - 1]))
    for name, folders in inner.items():
        first = ", ".join(sorted(folders)[:3])
        yield Note(
            name, f"images of {len(folders)} sub-folders ({first}) are of this class"
        )
