"""Downloads of the catalogue's files: hashed, resumed, and unpacked whole or not at all."""

import math
import re
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

import pooch
import requests

from ..base import ArtifactError, ConfigError, DataMissingError, Progress, choose, silent
from .catalogue import CATALOGUE, RemoteFile
from .domains import data_root

ORIGIN = ".unpacked_from"  # the digest of the archive that a folder came from
CHUNK_BYTES = 2**20
TIMEOUT_S = 30  # without a byte from the server
ARCHIVE = r"\.(tar\.gz|tgz|tar|zip)$"  # the end of its name


def download(
    name: str, *, root: Path | str | None = None, progress: Progress = silent
) -> list[Path]:
    """Bring the official files of a named domain under the root; return what is there now.

    Files that are there with the right hash stay; one that was interrupted goes on where it
    stopped. Archives are kept beside the folder they were unpacked into.

    Raises:
        ConfigError: if the name is unknown or the data set has no published hash.
        DataMissingError: if no server gave a file.
        ArtifactError: if a hash differs, an archive is unsafe, or the folder takes no file.
    """
    entry = choose(CATALOGUE, name)
    if entry.embedded:
        raise ConfigError(f"{name} comes with a package; there is nothing to get")
    if not entry.files:
        raise ConfigError(
            f"{name} has no published hash; get it by hand from {entry.source}"
        )
    return fetch(entry.files, data_root(root) / (entry.folder or name), progress=progress)


def fetch(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    progress: Progress = silent,
    retries: int = 2,
) -> list[Path]:
    """Bring these files into the folder and unpack those that are read unpacked."""
    pooch.get_logger().setLevel("ERROR")
    places = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            path, home = folder / file.name, folder / re.sub(ARCHIVE, "", file.name)
            _fetch_one(file, path, progress, retries)
            places.append(unpack(path, home, file.digest) if file.unpack else path)
        return places
    except DataMissingError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise ArtifactError(f"cannot write in {folder}: {reason}") from error


def _fetch_one(file: RemoteFile, path: Path, progress: Progress, retries: int) -> None:
    failures = []
    for url in file.urls:
        getter = partial(_get, part=path.with_name(f".{file.name}.part"), progress=progress)
        store = pooch.create(
            path=path.parent,
            base_url="",
            registry={file.name: file.digest},
            urls={file.name: url},
            retry_if_failed=retries,
        )
        try:
            store.fetch(file.name, downloader=getter)
            return
        except requests.RequestException as error:
            failures.append(DataMissingError(f"cannot get {url}: {_reason(error)}"))
        except ValueError:
            failures.append(ArtifactError(f"{url} is not the file with {file.digest}"))
    raise failures[0]


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}"
    return f"{type(error).__name__}; run the same command again to go on"


def _get(url: str, output: str, _store: object, *, part: Path, progress: Progress) -> None:
    """Write `part`, or go on where it stopped; when whole, hand it over as `output`."""
    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    headers |= {"Range": f"bytes={done}-"} if done else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as reply:
        if reply.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()  # longer than the file: the next try starts afresh
        reply.raise_for_status()
        resumed = reply.status_code == requests.codes.partial_content
        n_chunks = math.ceil(int(reply.headers.get("Content-Length", 0)) / CHUNK_BYTES)
        chunks = reply.iter_content(CHUNK_BYTES)
        with part.open("ab" if resumed else "wb") as out:
            for chunk in progress(chunks, total=n_chunks, desc=f"{part.name[1:-5]} (MiB)"):
                out.write(chunk)
    part.replace(output)


def unpack(archive: Path, target: Path, digest: str = "") -> Path:
    """Unpack a zip or tar archive into the new folder `target`, whole or not at all.

    Args:
        digest: of the archive; kept in the folder, which is taken as it is only while the two
            agree. Empty: a folder that is there is taken as it is.
    """
    mark = target / ORIGIN
    if target.exists():
        was = mark.read_text(encoding="utf-8") if mark.exists() else "nobody knows which"
        if digest not in ("", was):
            raise ArtifactError(
                f"{target} is there, unpacked from {was}, not from {archive.name} of {digest}; "
                "remove the folder and run again"
            )
        return target
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        _extract(archive, draft)
        draft.chmod(0o755)
        (draft / ORIGIN).write_text(digest, encoding="utf-8")
        draft.rename(target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise ArtifactError(
            f"{archive} is damaged: {error}; delete it, get it again"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _extract(archive: Path, folder: Path) -> None:
    for name, stream in (_zipped if archive.suffix == ".zip" else _tarred)(archive):
        path = PurePosixPath(name.replace("\\", "/"))
        leaves = path.is_absolute() or ".." in path.parts or ":" in name
        if leaves or stream is None:
            why = "leaves the folder" if leaves else "is a link"
            raise ArtifactError(f"{archive}: member {name!r} {why}; refused")
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with stream, place.open("wb") as out:
            shutil.copyfileobj(stream, out, CHUNK_BYTES)


def _zipped(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """The files of a zip, each with its content; a link has none."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            if not member.is_dir():
                linked = stat.S_ISLNK(member.external_attr >> 16)
                yield member.filename, None if linked else file.open(member)


def _tarred(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as file:
        for member in file:
            if not member.isdir():
                yield member.name, file.extractfile(member) if member.isreg() else None
