"""What goes wrong for a reader is said in one sentence that names what to do."""

import ast
import re
import subprocess
import sys

import nbformat
import pytest
import torch
from course import runner
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook

from hyperlab import base, notebook
from hyperlab.base import ConfigError, DataMissingError
from hyperlab.tasks import domains, roles
from tests.notebooks.files import NOTEBOOKS, PYTHON3, ROOT

COURSE = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
GUARDS = [cell.source for book in COURSE for cell in book.cells if cell.id == "reader"]
GUARD = GUARDS[0]
INIT = (ROOT / "hyperlab" / "__init__.py").read_text(encoding="utf-8")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Kernel:
    """A notebook's kernel, without a notebook."""

    def __init__(self, client):
        self.client = client

    def run(self, *cells):
        """(messages of the error, standard error) of the last cell."""
        for cell in cells:
            seen = []
            self.client.execute_interactive(cell, output_hook=seen.append, timeout=60)
        errors = [m["content"] for m in seen if m["msg_type"] == "error"]
        streams = [m["content"] for m in seen if m["msg_type"] == "stream"]
        return errors, "".join(s["text"] for s in streams if s["name"] == "stderr")

    def shows(self, *cells):
        """The lines that the reader sees of the one error of the last cell."""
        [error], _ = self.run(*cells)
        return COLOUR.sub("", "\n".join(error["traceback"])).splitlines()


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT / "notebooks"))
    yield Kernel(client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def begun(kernel):
    """The kernel after the notebook's first two cells."""
    kernel.run("%reset -f in out", 'scale = "laptop"', GUARD)
    return kernel


def test_every_notebook_has_the_same_cell_before_its_imports():
    assert len(GUARDS) == len(NOTEBOOKS) and set(GUARDS) == {GUARD}
    for book in COURSE:
        _, second, *_ = (cell for cell in book.cells if cell.cell_type == "code")
        assert second.id == "reader"


def test_a_python_without_the_package_is_told_so(tmp_path):
    bare = [sys.executable, "-I", "-S", "-c", GUARD]  # sees the standard library alone
    done = subprocess.run(
        bare, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "ImportError: No hyperlab in this kernel: change it, or run `make lab`"
    assert done.stderr.count("Traceback") == 1


def test_an_old_python_is_told_so():
    ast.parse(INIT, feature_version=(3, 8))
    old = "import sys; sys.version, sys.version_info = '3.9.2 (old)', (3, 9, 2); import hyperlab"
    command = [sys.executable, "-c", old]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "ImportError: hyperlab needs Python 3.11 or newer, this is 3.9.2:"
    )
    assert "make lab PYTHON=" in last


def test_the_versions_that_are_refused_are_those_that_pip_refuses():
    lowest = re.search(r'requires-python = ">=(\d+)\.(\d+)"', text("pyproject.toml"))
    assert f"version_info < ({lowest[1]}, {lowest[2]})" in INIT


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_a_cell_run_too_early_says_which_name_and_what_to_run(begun):
    assert begun.shows("a = 1\nprint(a, episode)") == [
        "line 2: print(a, episode)",
        "NameError: `episode` is not there yet: run the cells above first "
        "(Run > Run All Above Selected Cell), or correct the name",
    ]
    [error], _ = begun.run("print(episode)")
    assert (error["ename"], error["evalue"]) == (
        "NameError",
        "name 'episode' is not defined",
    )


@pytest.mark.parametrize(
    "cell",
    [
        "n = n + 1",
        "[i * n for i in range(3)]",
        "import asyncio\nawait asyncio.sleep(0)\nprint(n)",
        "def f(x):\n    return n\ndel n",
    ],
)
def test_so_does_every_cell_that_asks_for_the_name_itself(begun, cell):
    for _ in range(2):  # running it again changes nothing
        assert begun.shows(cell)[-1].startswith("NameError: `n` is not there yet")


def test_the_parameters_cell_left_out_counts_as_too_early(begun):
    shown = begun.shows("del scale", "%reset -f in", GUARD)
    assert shown[0] == "line 6: notebook.check(scale)"
    assert shown[-1].startswith("NameError: `scale` is not there yet")


@pytest.mark.parametrize(
    "cells",
    [
        ["def f():\n    return missing", "f()"],  # inside a function
        ["def f():\n    print(x)\n    x = 1", "f()"],
        ["y = 1\ndel y", "print(y)"],  # a cell had set it
        ["import math as m\ndel m", "print(m)"],
        ["def g(): ...\ndel g", "g()"],
        ["1 / 0"],
        ["None.x"],
    ],
)
def test_any_other_error_keeps_its_traceback(begun, cells):
    shown = begun.shows(*cells)
    assert "Traceback (most recent call last)" in shown[1]
    assert "not there yet" not in "".join(shown)


def test_errors_of_the_package_show_the_readers_line_the_sentence_and_the_place(begun):
    shown = begun.shows(
        "from hyperlab import solvers\nsolvers.solve(None, None, steps=1, method='eular')"
    )
    line, sentence, place = shown
    assert line == "line 2: solvers.solve(None, None, steps=1, method='eular')"
    assert sentence.startswith("ConfigError: unknown option 'eular'; have [")
    assert sentence.endswith("did you mean 'euler'?")
    assert re.fullmatch(r"\(raised by choose, line \d+ of base.py\)", place)
    _, full = begun.run("import traceback\ntraceback.print_last()")
    assert "in solve" in full and "eular" in full


def test_a_wrong_scale_is_refused_by_the_first_cells(begun):
    line, sentence, _ = begun.shows('scale = "labtop"', GUARD)
    assert sentence == (
        "ConfigError: no scale 'labtop'; have smoke, laptop, paper: "
        "correct the cell that sets it"
    )
    assert begun.run('scale = "smoke"', GUARD) == ([], "")


def test_without_a_gpu_the_paper_scale_is_allowed_and_what_it_takes_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match='days without a GPU.*take "laptop"'):
        notebook.check("paper")


def test_a_device_that_is_not_here_is_answered_with_those_that_are():
    assert base.find_device("cpu") == torch.device("cpu")
    with pytest.raises(
        ConfigError, match="no device 'abacus' here; have cpu.*--device auto"
    ):
        base.find_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_no_device():
    with pytest.raises(ConfigError, match="no device 'cuda' here; have cpu: take that"):
        base.find_device("cuda")


def test_data_that_is_not_here_names_the_folder_the_download_and_the_variable(monkeypatch):
    monkeypatch.delenv("HYPERLAB_DATA", raising=False)
    with pytest.raises(DataMissingError) as missing:
        domains.load("mnist", root="/nowhere")
    said = str(missing.value)
    assert said.startswith(
        "no mnist in /nowhere/mnist; run: python data_scripts/download_data.py"
    )
    assert (
        "HYPERLAB_DATA=/folder make lab" in said and 'os.environ["HYPERLAB_DATA"]' in said
    )


def test_a_variable_that_points_nowhere_is_said_and_not_taken_for_no_data(monkeypatch):
    monkeypatch.setenv("HYPERLAB_DATA", "/nowhere")
    for ask in (domains.available, lambda: roles.present("held_out")):
        with pytest.raises(DataMissingError, match="names /nowhere, which is no folder"):
            ask()


def test_a_run_without_a_screen_stops_with_the_same_error(tmp_path):
    first = new_code_cell('scale = "laptop"', metadata={"tags": ["parameters"]})
    cells = [first, new_code_cell(GUARD), new_code_cell("print(episode)")]
    path = tmp_path / "00_x.ipynb"
    nbformat.write(new_notebook(cells=cells, metadata=PYTHON3), path)
    done = runner.run(path, tmp_path / "out.ipynb", {"scale": "smoke"})
    assert done.faults == ("cell 3: NameError: name 'episode' is not defined",)
