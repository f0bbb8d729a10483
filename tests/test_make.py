"""`make` says what is missing, keeps its hands off what is there, and passes options on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("Makefile", "pyproject.toml", "constraints.txt")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def folder(tmp_path):
    """A clone's set-up files, in a path with a space."""
    place = tmp_path / "a clone"
    place.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, place)
    return place


def make(folder, *arguments):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PYTHON"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, encoding="utf-8"
    )


def script(path, body):
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def installed(folder, version="3.11"):
    """Pretend that everything is installed, with a Python of this version."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    script(
        folder / ".venv/bin/python", f'case "$*" in *version_info*) echo {version};; esac'
    )
    (folder / ".venv/.installed").write_text(str(folder), encoding="utf-8")


def test_a_missing_interpreter_is_named(folder):
    done = make(folder, "lab", "PYTHON=python9.9")
    assert done.returncode != 0
    assert "no python9.9 here" in done.stdout


def test_an_old_interpreter_is_refused_and_nothing_is_made(folder):
    old = script(folder / "old", 'case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac')
    done = make(folder, "lab", f"PYTHON={old}")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stdout
    assert "is 3.9.2" in done.stdout
    assert not (folder / ".venv").exists()


def test_a_short_disk_is_said_before_anything_is_downloaded(folder):
    done = make(folder, "install", "NEED_GB=1000000000")
    assert done.returncode != 0
    assert "need about 1000000000 GB of disk" in done.stderr
    assert not (folder / ".venv").exists()


def test_a_second_call_installs_nothing(folder):
    installed(folder)
    assert make(folder, "-q", "install").returncode == 0


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again(folder, name):
    installed(folder)
    stamp = (folder / ".venv/.installed").stat()
    os.utime(folder / name, (stamp.st_atime + 9, stamp.st_mtime + 9))
    assert make(folder, "-q", "install").returncode == 1


def test_a_moved_folder_and_another_python_install_again(folder):
    installed(folder, version="3.1")
    assert make(folder, "-q", "install", f"PYTHON={sys.executable}").returncode == 1
    moved = folder.rename(folder.with_name("moved"))
    assert make(moved, "-q", "install").returncode == 1


def test_lab_opens_the_course_with_the_readers_options(folder):
    installed(folder)
    done = make(folder, "-n", "lab", "LAB_ARGS=--no-browser --port=9000")
    command = done.stdout.splitlines()[-1]
    assert f'jupyter lab --ServerApp.root_dir="{folder}" ' in command
    assert " --ContentsManager.preferred_dir=notebooks " in command
    assert command.startswith(f'JUPYTER_CONFIG_PATH="{folder}/notebooks/.jupyter$')
    assert command.endswith("--no-browser --port=9000")


def test_app_serves_the_stepper_with_the_readers_options(folder):
    installed(folder)
    done = make(folder, "-n", "app", "APP_ARGS=--no-browser --port 9000")
    command = done.stdout.splitlines()[-1]
    assert command.endswith("data_scripts/serve_stepper.py --no-browser --port 9000")


def test_help_names_every_target_of_the_readme(folder):
    said = make(folder).stdout
    for target in (
        "lab",
        "app",
        "test",
        "notebooks",
        "book",
        "exercises",
        "browser",
        "bench",
        "lint",
        "clean",
    ):
        assert f"make {target} " in said
