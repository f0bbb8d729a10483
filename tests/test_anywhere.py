"""The course's files are found from any folder, and what cannot be written goes elsewhere."""

import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest

from hyperlab import notebook
from hyperlab.base import DataMissingError
from hyperlab.tasks import domains
from tests.notebooks.files import NOTEBOOKS, ROOT

CELLS = [
    (path.stem, cell.source)
    for path in NOTEBOOKS
    for cell in nbformat.read(path, as_version=4).cells
    if cell.cell_type == "code"
]
CALLS = [
    (name, [arg.value for arg in node.args])
    for name, source in CELLS
    if "notebook.results(" in source
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "notebook.results"
]
UMAP = "import numba\n\n@numba.njit(cache=True)\ndef one():\n    return 1\n"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def installed(elsewhere, monkeypatch):
    """The package somewhere else than in a clone."""
    monkeypatch.setattr(notebook, "__file__", str(elsewhere / "site/hyperlab/notebook.py"))


def test_no_cell_looks_for_files_beside_the_folder_that_it_happens_to_run_in():
    texts = [
        (name, node.value)
        for name, source in CELLS
        if not source.startswith("%")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [
        (n, t) for n, t in texts if t == ".." or t.startswith(("../", "results/"))
    ] == []


def test_the_evidence_of_every_notebook_is_found_from_any_folder(elsewhere):
    assert len({name for name, _ in CALLS}) >= 10
    for name, arguments in CALLS:
        path = notebook.results(*arguments)
        assert path.exists() or path.with_suffix(".json").exists(), name


def test_a_package_outside_a_clone_finds_the_one_around_the_working_folder(
    installed, monkeypatch, elsewhere
):
    with pytest.raises(DataMissingError, match="run the notebook inside a clone"):
        notebook.results("held_out")
    assert notebook.artifacts("06") == elsewhere / "artifacts" / "06"
    monkeypatch.chdir(ROOT / "notebooks")
    assert notebook.results("held_out.json") == ROOT / "results" / "held_out.json"


def test_artefacts_lie_in_the_course_or_else_where_it_is_said(elsewhere, monkeypatch):
    assert notebook.artifacts("06-abc") == ROOT / "artifacts" / "06-abc"
    monkeypatch.setattr(notebook, "writable", lambda folder: False)
    with pytest.warns(UserWarning, match="cannot be written to; kept in"):
        assert notebook.artifacts("06").is_relative_to(tempfile.gettempdir())


def test_a_relative_root_of_data_is_the_courses_from_any_folder(elsewhere, monkeypatch):
    monkeypatch.setenv("HYPERLAB_DATA", "notebooks")
    assert domains.data_root() == ROOT / "notebooks"
    (elsewhere / "notebooks").mkdir()
    assert domains.data_root() == Path("notebooks")


def test_umap_can_be_imported_where_neither_environment_nor_home_can_be_written(tmp_path):
    package, home = tmp_path / "umap", tmp_path / "home"
    package.mkdir()
    for name, text in (("__init__", "from . import layouts, umap_"), ("umap_", UMAP)):
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    (package / "layouts.py").touch()
    (
        package / "__pycache__"
    ).touch()  # a file: no folder can be made there, not even by root
    home.touch()
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HOME": str(home)}
    here |= {"XDG_CACHE_HOME": str(home / "cache"), "NUMBA_CACHE_DIR": ""}
    code = "from hyperlab.views import projection; print(projection._compiled_once().umap_.one())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=here)
    assert done.stdout == "1\n", done.stderr
