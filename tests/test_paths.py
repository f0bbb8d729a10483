"""Paths and texts mean the same on every machine: a home folder's ~, and other encodings."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import script
import typer

from hyperlab import checkpoint
from hyperlab.base import DataMissingError, expanded, whole_file
from hyperlab.evaluation import claims
from hyperlab.hyperflow import jacobian_flow
from hyperlab.hyperflow.trajectories import TrajectoryStore
from hyperlab.models import targets
from hyperlab.store import whole_address
from hyperlab.tasks import domains, own
from hyperlab.weights import zoo_store
from tests.hyperflow.test_trajectories import new
from tests.tiny import tiny_flow, tiny_target

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home folder, and another one to work in where nobody makes a folder called ~."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert not [*Path.cwd().iterdir()]


def test_stores_and_files_below_the_home_folder_lie_there(home):
    for kind in (str, Path):
        store = new(kind("~/a store"))
        assert store.path == kind(home / "a store") and (home / "a store").is_dir()
        assert TrajectoryStore.open(kind("~/a store")).missing == store.missing
        with whole_file(kind("~/notes/a.txt")) as draft:
            draft.write_text("±", encoding="utf-8")
    assert (home / "notes" / "a.txt").read_text(encoding="utf-8") == "±"
    assert whole_address("~/a store") == str(home / "a store")
    assert expanded("s3://runs/~/store") == "s3://runs/~/store"


@pytest.mark.parametrize(
    "look",
    [
        jacobian_flow.load,
        zoo_store.find_zoo,
        own.read,
        claims.read,
        lambda path: targets.load(weights=Path(path)),
    ],
)
def test_what_is_not_below_the_home_folder_is_missed_there(home, look):
    with pytest.raises(DataMissingError, match="home/nothing"):
        look("~/nothing")


def test_what_is_kept_of_a_jacobian_below_the_home_folder_is_read_there(home):
    jacobian_flow.save(tiny_flow(tiny_target()), "~/j.safetensors", {"command": "x"})
    assert checkpoint.about("~/j.safetensors")["command"] == "x"


def test_data_may_lie_below_the_home_folder(home, monkeypatch):
    monkeypatch.setenv("HYPERLAB_DATA", "~/images")
    assert domains.data_root() == domains.data_root("~/images") == home / "images"


def test_a_script_reads_a_home_folder_wherever_an_option_names_it(home, monkeypatch):
    seen = {}

    def main(
        out: Annotated[Path, typer.Option()], nets: Annotated[str, typer.Option()]
    ) -> None:
        seen.update(out=out, nets=nets)

    words = "one=~/a b,two=shipped,~/c, s3://x/~/y~"
    monkeypatch.setattr(sys, "argv", ["x.py", "--out=~/table", f"--nets={words}"])
    with pytest.raises(SystemExit) as stop:
        script.run(main)
    assert stop.value.code == 0
    assert seen["out"] == home / "table"
    assert seen["nets"] == f"one={home}/a b,two=shipped,{home}/c, s3://x/~/y~"


AMID_ASCII = """
from pathlib import Path
import typer
from hyperlab.evaluation import tables, timing
import script
import study
from hyperlab.tasks import own

def main(data: Path = Path()) -> None:
    found = own.read(data)
    names = [found.domain.name, *found.domain.class_names, *found.skipped]
    study.write(data / "table.json", {"± é": names}, f"± {names} {timing.command()}")
    assert tables.written(data / "table.json", "x.py")["± é"][0] == found.domain.name
    typer.echo(f"± {found.domain.name} {data}")

script.run(main)
"""


def test_a_script_reads_and_writes_the_same_where_the_locale_is_ascii(tmp_path):
    place = tmp_path / os.fsdecode("é ±".encode() + b" \xe9")
    noise = os.urandom(12 * 12 * 3 * 6)
    (tmp_path / "x.py").write_text(AMID_ASCII, encoding="utf-8")
    for k, name in enumerate(("café", "dog")):
        for i in range(3):
            row = 3 * k + i
            (place / name).mkdir(parents=True, exist_ok=True)
            pixels = noise[432 * row : 432 * (row + 1)]
            (place / name / f"{i}.ppm").write_bytes(b"P6 12 12 255\n" + pixels)
    (place / "café" / os.fsdecode(b"\xff.ppm")).write_bytes(b"P6")
    command = [sys.executable, str(tmp_path / "x.py"), "--data", str(place)]
    here = {**os.environ, **ASCII, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, env=here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("utf-8", "replace").startswith(r"± é ± \xe9 ")
    table = (place / "table.md").read_text(encoding="utf-8")
    assert "'café', 'dog'" in table and r"é ± \xe9" in table
