"""Every notebook runs at smoke scale, in time, memory and size, its exercises can be solved."""

import subprocess
import sys
import time

import nbformat
import pytest
import torch

from hyperlab.study import course, course_times
from hyperlab.study.course import tags
from tests.notebooks.files import SMOKE, each_notebook

SECONDS = 60  # promised to the reader, two cores
SLACK = 1.5  # a busy machine may take this much longer
REFERENCE_S = 0.16  # of `slowness`, on a machine as fast as that of results/course.json
PEAK_BYTES = 2 * 2**30
SAVED_BYTES = 300_000

pytestmark = pytest.mark.notebook


def slowness():
    """How many times as long as there a fixed piece of work takes here and now; 1 or more."""
    start, x = time.perf_counter(), torch.eye(64)
    for _ in range(10_000):
        x = torch.tanh(x @ x)
    return max(1.0, (time.perf_counter() - start) / REFERENCE_S)


@each_notebook
def test_runs_and_its_exercises_can_be_solved(path, notebooks, tmp_path, record_property):
    before = {p.name for p in notebooks.iterdir()}
    done = course.run(
        notebooks / path.name, tmp_path / "out" / path.name, SMOKE, rehearse=True
    )
    record_property("notebook", done.name)
    record_property("seconds", done.seconds)
    record_property("peak_bytes", done.peak_bytes)
    assert not done.faults
    assert 0 < done.peak_bytes <= PEAK_BYTES
    assert done.seconds <= SECONDS * SLACK * slowness()
    assert course_times.saved_bytes(done.executed) <= SAVED_BYTES
    assert {p.name for p in notebooks.iterdir()} == before, "leaves files beside itself"


@each_notebook
def test_golden_cells_print_what_they_keep(path, notebooks):
    said = compare_golden(notebooks / path.name)
    assert said.returncode == 0, said.stdout


def compare_golden(path):
    """nbval over a copy at smoke scale that ends with the last golden cell."""
    copy = path.with_name(f"golden_{path.name}")
    notebook = course.prepare(path, copy, SMOKE)
    golden = [i for i, c in enumerate(notebook.cells) if "nbval-check-output" in tags(c)]
    notebook.cells = notebook.cells[: golden[-1] + 1]
    for place in golden:  # nbval compares only what claims to have been run
        notebook.cells[place].execution_count = 1
    nbformat.write(notebook, copy)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        copy.name,
        "-q",
        "-c",
        "none.ini",
    ]
    command += ["-p", "no:cacheprovider", "--nbval-cell-timeout=180"]
    (path.parent / "none.ini").write_text("[pytest]\n", encoding="utf-8")
    with course.environment(SMOKE):
        return subprocess.run(
            command, cwd=path.parent, capture_output=True, text=True, encoding="utf-8"
        )
