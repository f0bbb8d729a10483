"""Downloads are whole and hashed or not there; archives cannot leave their folder."""

import hashlib
import io
import runpy
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from hyperlab.base import ArtifactError, ConfigError, DataMissingError
from hyperlab.tasks import catalogue
from hyperlab.tasks import download as downloads
from hyperlab.tasks.catalogue import Entry, RemoteFile
from hyperlab.tasks.download import download, fetch, unpack

CONTENT = bytes(range(256)) * 40
SCRIPT = Path(__file__).parents[2] / "data_scripts" / "download_data.py"


class Server(ThreadingHTTPServer):
    """Serves `files`; `cuts` are lengths after which the next answers break off."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.ranges, self.resumes = {}, [], [], True

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data, asked = self.server.files.get(self.path[1:]), self.headers.get("Range")
        self.server.ranges.append(asked)
        if data is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if start >= len(data) and asked:
            return self.send_error(416)
        start = start if self.server.resumes else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(data[start:][:cut])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with Server() as server:
        server.files["a.bin"] = CONTENT
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def remote(server, name="a.bin", content=CONTENT, **changes):
    digest = f"md5:{hashlib.md5(content).hexdigest()}"
    fields = {"name": name, "urls": (server.url(name),), "digest": digest}
    return RemoteFile(**fields | changes)


def contents(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("before", "asked"), [(None, 1), (b"something else", 1), (CONTENT, 0)]
)
def test_file_arrives_whole_and_alone_and_once(server, tmp_path, before, asked):
    path = tmp_path / "new" / "a.bin"
    if before:
        path.parent.mkdir()
        path.write_bytes(before)
    assert fetch([remote(server)], path.parent) == [path]
    assert path.read_bytes() == CONTENT and contents(path.parent) == ["a.bin"]
    assert len(server.ranges) == asked


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK_BYTES", 500)


@pytest.mark.usefixtures("small_chunks")
def test_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.cuts = [4000]
    with pytest.raises(DataMissingError, match="run the same command again"):
        fetch([remote(server)], tmp_path, retries=0)
    assert contents(tmp_path) == [".a.bin.part"]
    server.cuts = [1000]
    fetch([remote(server)], tmp_path)
    assert server.ranges == [None, "bytes=4000-", "bytes=5000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert contents(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("stale", "cuts", "resumes"),
    [(b"x" * 4000, [], True), (b"x" * 20_000, [], True), (b"", [4000], False)],
)
def test_a_beginning_that_cannot_be_used_is_thrown_away(
    server, tmp_path, stale, cuts, resumes
):
    (tmp_path / ".a.bin.part").write_bytes(stale)
    server.cuts, server.resumes = cuts, resumes
    fetch([remote(server)], tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("before", [{}, {"a.bin": b"mine"}])
def test_wrong_hash_leaves_what_was_there(server, tmp_path, before):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="is not the file with md5:"):
        fetch([remote(server, content=b"other")], tmp_path, retries=0)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_second_address_is_tried(server, tmp_path):
    file = remote(server, urls=(server.url("gone"), server.url("a.bin")))
    fetch([file], tmp_path, retries=0)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_missing_file_and_silent_server_are_clear_errors(server, tmp_path):
    silent = "http://127.0.0.1:9/a"
    for url, words in (
        (server.url("gone"), "/gone: the server says 404"),
        (silent, silent),
    ):
        with pytest.raises(DataMissingError, match=f"cannot get .*{words}"):
            fetch([remote(server, urls=(url,))], tmp_path, retries=0)


def test_progress_counts_mebibytes(server, tmp_path):
    seen = []

    def progress(items, *, total, desc):
        seen.append((total, desc))
        return items

    server.files["big"] = bytes(2**21 + 1)
    fetch([remote(server, "big", server.files["big"])], tmp_path, progress=progress)
    assert seen == [(3, "big (MiB)")]


def test_folder_that_takes_no_file_is_a_clear_error(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot write in .*file/sub: Not a directory"):
        fetch([remote(server)], tmp_path / "file" / "sub")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_a_clear_error_and_leaves_no_file(server, tmp_path):
    (tmp_path / ".a.bin.part").symlink_to("/dev/full")
    with pytest.raises(ArtifactError, match="No space left on device"):
        fetch([remote(server)], tmp_path)
    assert contents(tmp_path) == [".a.bin.part"]


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if content is None:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content or "/etc")


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc"
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))


MAKERS = {".zip": make_zip, ".tar.gz": make_tar}
LEAVING = ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil"]


@pytest.mark.parametrize("kind", MAKERS)
def test_archive_is_unpacked_into_a_folder_of_its_name(kind, server, tmp_path):
    MAKERS[kind](tmp_path / "x", {"top/a.txt": b"one", "top/deep/b.txt": b"two"})
    server.files[f"set{kind}"] = content = (tmp_path / "x").read_bytes()
    file = remote(server, f"set{kind}", content, unpack=True)
    (place,) = fetch([file], tmp_path / "data")
    assert place == tmp_path / "data" / "set"
    assert (place / "top" / "deep" / "b.txt").read_bytes() == b"two"
    assert fetch([file], tmp_path / "data") == [place]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["set", f"set{kind}"]


def test_a_folder_of_another_archive_is_not_taken_for_this_one(tmp_path):
    archive, place = tmp_path / "set.zip", tmp_path / "set"
    make_zip(archive, {"a.txt": b"one"})
    assert unpack(archive, place, "md5:1") == unpack(archive, place, "md5:1") == place
    with pytest.raises(
        ArtifactError, match=r"unpacked from md5:1, not from set\.zip of md5:2"
    ):
        unpack(archive, place, "md5:2")
    (tmp_path / "by hand").mkdir()
    with pytest.raises(ArtifactError, match="nobody knows which"):
        unpack(archive, tmp_path / "by hand", "md5:1")


REFUSED = {
    "leaves the folder": [{"good.txt": b"fine", name: b"evil"} for name in LEAVING],
    "is a link": [{"etc": None, "etc/evil": b"evil"}],
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("words", REFUSED)
def test_member_that_leaves_or_is_a_link_is_refused_and_nothing_stays(
    kind, words, tmp_path
):
    archive = tmp_path / "in" / f"set{kind}"
    archive.parent.mkdir()
    for members in REFUSED[words]:
        MAKERS[kind](archive, members)
        with pytest.raises(ArtifactError, match=f"{words}; refused"):
            unpack(archive, tmp_path / "in" / "set")
        assert contents(tmp_path) == ["in", f"set{kind}"]


@pytest.mark.parametrize("kind", MAKERS)
def test_cut_archive_is_refused_and_nothing_stays(kind, tmp_path):
    archive = tmp_path / f"set{kind}"
    MAKERS[kind](archive, {"a.txt": CONTENT, "b.txt": CONTENT})
    whole = archive.read_bytes()
    for length in (0, 100, -60):
        archive.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="is damaged"):
            unpack(archive, tmp_path / "set")
        assert contents(tmp_path) == [f"set{kind}"]


@pytest.mark.parametrize(("name", "message"), [
    ("mist", "unknown option"),
    ("digits", "nothing to get"),
    ("devanagari", "no published hash; get it by hand from https"),
])  # fmt: skip
def test_what_cannot_be_downloaded_says_why(name, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        download(name, root=tmp_path)


@pytest.fixture
def script(monkeypatch, server):
    entry = Entry(n_classes=1, licence="CC0-1.0", source="http", files=(remote(server),))
    monkeypatch.setitem(catalogue.CATALOGUE, "toy", entry)
    main = runpy.run_path(str(SCRIPT))["main"]

    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs) or 0
        except typer.Exit as stopped:
            return stopped.exit_code

    return run


def test_script_says_each_failure_in_one_line_and_goes_on(script, tmp_path, capsys):
    assert script(["toy"], out=tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {tmp_path / 'toy'}"
    assert (tmp_path / "toy" / "a.bin").read_bytes() == CONTENT
    assert script(["mist", "devanagari", "toy"], out=tmp_path) == 1
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if "(MiB)" not in line]
    assert [line.split(":")[0] for line in lines if line] == ["mist", "devanagari"]
    assert captured.out.strip() == f"wrote {tmp_path / 'toy'}"


def test_script_without_names_fails_and_says_what_to_do(script, capsys):
    assert script() == 2
    assert "--list" in capsys.readouterr().err


def test_script_lists_every_data_set_with_its_licence(script, tmp_path, capsys):
    assert script(out=tmp_path, show=True) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(catalogue.CATALOGUE)
    assert "download" in lines["mnist"]
    assert "by hand" in lines["devanagari"]
    assert "CC0-1.0" in lines["toy"]
