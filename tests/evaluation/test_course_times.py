"""Seconds, memory and size of the course are kept, scale beside scale."""

import json

import nbformat
import pytest
from course import times
from course.runner import Run
from nbformat.v4 import new_code_cell, new_notebook, new_output


@pytest.fixture
def run(tmp_path):
    executed = tmp_path / "executed.ipynb"
    nbformat.write(new_notebook(), executed)

    def done(name, seconds, *faults):
        told = {"seconds": seconds, "cpu_seconds": seconds / 2, "peak_bytes": 700 * 2**20}
        return Run(name=name, executed=executed, faults=faults, **told)

    return done


def test_a_later_run_replaces_its_own_scale_alone(run, tmp_path):
    path = tmp_path / "course.json"
    times.keep(path, [run("01_b", 20.0), run("00_a", 10.0)], "laptop")
    times.keep(path, [run("00_a", 4.0)], "smoke")
    times.keep(path, [run("00_a", 8.0)], "laptop")
    found = json.loads(path.read_text(encoding="utf-8"))
    seconds = {
        name: {at: r["seconds"] for at, r in rows.items()} for name, rows in found.items()
    }
    assert seconds == {"00_a": {"laptop": 8.0, "smoke": 4.0}, "01_b": {"laptop": 20.0}}
    assert list(found) == ["00_a", "01_b"]
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| 00_a | 4 | 2 | 700 | 0 | 8 | 4 | 700 | 0 |" in table
    assert "| 01_b | - | - | - | - | 20 | 10 | 700 | 0 |" in table


def test_a_run_with_a_fault_leaves_what_was_there(run, tmp_path):
    path = tmp_path / "course.json"
    times.keep(path, [run("00_a", 10.0)], "laptop")
    times.keep(path, [run("00_a", 3.0, "cell 4: ValueError: no")], "laptop")
    assert json.loads(path.read_text(encoding="utf-8"))["00_a"]["laptop"]["seconds"] == 10.0


def test_what_jupyterlab_does_not_save_is_not_counted(tmp_path):
    figure = {"application/vnd.plotly.v1+json": {"data": []}, "text/html": "x" * 50_000}
    library = {"text/html": "<script>/**\n* plotly.js v4.1.1" + "x" * 90_000}
    table = {"text/html": "<table>" + "x" * 3_000}
    shown = [new_output("display_data", data) for data in (figure, library, table)]
    widgets = {"widgets": {"state": "x" * 70_000}}
    notebook = new_notebook(cells=[new_code_cell(outputs=shown)], metadata=widgets)
    nbformat.write(notebook, tmp_path / "a.ipynb")
    assert 3_000 < times.saved_bytes(tmp_path / "a.ipynb") < 5_000
