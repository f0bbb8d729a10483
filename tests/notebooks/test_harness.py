"""The harness finds the faults that a plain run of a notebook would not report."""

import nbformat
import pytest
from course import runner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hyperlab.base import ArtifactError, ConfigError
from tests.notebooks.files import NOTEBOOKS, PYTHON3, SMOKE
from tests.notebooks.golden import by_nbval, differences

pytestmark = pytest.mark.notebook

VERDICT = """class Verdict(str):
    __repr__ = str.__str__
def check(x):
    return Verdict("passed: yes" if x == 2 else "not yet: x is 2")"""
HIDDEN = "<details><summary>Solution</summary>\n\n```python\nx = {}\n```\n\n</details>"


def cell(source, *names):
    return new_code_cell(source, metadata={"tags": list(names)})


def notebook(folder, *cells):
    """A small notebook: `parameters` first, then these cells."""
    first = cell('scale = "laptop"\nseed = 0', "parameters")
    cells = [c if hasattr(c, "cell_type") else cell(c) for c in cells]
    path = folder / "00_trap.ipynb"
    nbformat.write(new_notebook(cells=[first, *cells], metadata=PYTHON3), path)
    return path


def faults(folder, *cells, **options):
    path = notebook(folder, *cells)
    return "\n".join(runner.run(path, folder / "out" / path.name, SMOKE, **options).faults)


def exercise(stub, solution):
    hidden = new_markdown_cell(HIDDEN.format(solution))
    return [VERDICT, cell(f"x = {stub}", "exercise"), cell("check(x)", "check"), hidden]


def test_a_good_run_has_no_fault_and_knows_its_peak_memory(tmp_path):
    path = notebook(tmp_path, "block = bytearray(300 * 2**20)\ndel block", "print(scale)")
    done = runner.run(path, tmp_path / "out.ipynb", SMOKE)
    assert done.faults == ()
    assert 300 * 2**20 < done.peak_bytes < 600 * 2**20
    assert done.cpu_seconds > 0
    copy = nbformat.read(done.executed, as_version=4)
    assert copy.cells[-1].outputs[0].text == "smoke\n"


def test_an_unknown_parameter_is_refused(tmp_path):
    path = notebook(tmp_path)
    with pytest.raises(
        ConfigError, match=r"has no parameter \['scael'\]; it has \['scale'"
    ):
        runner.run(path, tmp_path / "out.ipynb", {"scael": "smoke"})


TRAPS = {
    "a failing cell": ("1 / 0", "ZeroDivisionError: division by zero"),
    "an exception in an Output widget": (
        "import ipywidgets\nwith ipywidgets.Output():\n    1 / 0",
        "inside an Output widget: ZeroDivisionError",
    ),
    "an exception in interact": (
        "import ipywidgets\nipywidgets.interact(lambda x: 1 / x, x=0);",
        "inside an Output widget: ZeroDivisionError",
    ),
    "a task that died and was collected": (
        "import asyncio, gc\nasync def f():\n    1 / 0\n"
        "asyncio.create_task(f())\nawait asyncio.sleep(0.1)\ngc.collect();",
        "lost asyncio task",
    ),
    "a task that died in somebody's hands": (
        "import asyncio\nasync def f():\n    1 / 0\ntask = asyncio.create_task(f())",
        "lost asyncio task: ZeroDivisionError",
    ),
    "a thread's task that died": (
        "import sys\nprint('Task exception was never retrieved\\nE: 1', file=sys.stderr)",
        "lost asyncio task, said in cell 2: E: 1",
    ),
    "a task that never ends": (
        "import asyncio\nasync def forever():\n    await asyncio.sleep(1e6)\n"
        "task = asyncio.create_task(forever())",
        "still running: forever",
    ),
    "a kernel that dies": ("import os\nos._exit(1)", "DeadKernelError"),
}


@pytest.mark.parametrize(("source", "fault"), TRAPS.values(), ids=TRAPS)
def test_a_trap_is_found(tmp_path, source, fault):
    assert fault in faults(tmp_path, source)


def test_a_cell_that_never_ends_is_cut(tmp_path):
    said = faults(tmp_path, "import time\ntime.sleep(60)", cell_timeout_s=2)
    assert "CellTimeoutError" in said


def test_an_exercise_whose_solution_passes_has_no_fault(tmp_path):
    after = cell(
        "assert x is ..."
    )  # the cells that follow see the stub, as a reader's would
    assert faults(tmp_path, *exercise("...", "2"), after, rehearse=True) == ""


def test_a_solution_that_fails_its_check_is_found(tmp_path):
    said = faults(tmp_path, *exercise("...", "3"), rehearse=True)
    assert "should say 'passed:', said 'not yet: x is 2'" in said


def test_a_stub_that_passes_its_check_is_found(tmp_path):
    assert "should say 'not yet:', said 'passed: yes'" in faults(
        tmp_path, *exercise("2", "2")
    )


def test_a_check_without_a_solution_is_refused(tmp_path):
    cells = exercise("...", "2")[:-1]
    with pytest.raises(ArtifactError, match="between stub and solution"):
        faults(tmp_path, *cells, rehearse=True)


@pytest.mark.parametrize(("kept", "code"), [("1.000\n", 0), ("2.000\n", 1)])
def test_a_golden_cell_that_prints_something_else_is_found(tmp_path, kept, code):
    golden = cell('print("1.000")', "nbval-check-output", "keep_output")
    golden.outputs = [new_output("stream", name="stdout", text=kept)]
    path = notebook(tmp_path, golden, "1 / 0  # not reached by nbval")
    said = by_nbval(path)
    assert said.returncode == code, said.stdout
    done = runner.run(path, tmp_path / "out" / path.name, SMOKE)
    assert len(list(differences(path, done.executed))) == code


def test_a_golden_cell_that_was_not_reached_is_found(tmp_path):
    golden = cell('print("1.000")', "nbval-check-output", "keep_output")
    golden.outputs = [new_output("stream", name="stdout", text="1.000\n")]
    path = notebook(tmp_path, "1 / 0", golden)
    done = runner.run(path, tmp_path / "out" / path.name, SMOKE)
    assert list(differences(path, done.executed))


def test_nbval_agrees_on_a_notebook_of_the_course(notebooks):
    said = by_nbval(notebooks / NOTEBOOKS[0].name)
    assert said.returncode == 0, said.stdout


def test_golden_outputs_are_stored_and_nothing_else(tmp_path):
    golden = cell("print(scale)", "nbval-check-output", "keep_output")
    path = notebook(tmp_path, golden, "print(1)")
    done = runner.run(path, tmp_path / "out" / path.name, SMOKE)
    assert runner.store_golden(path, done.executed) == 1
    _, kept, plain = nbformat.read(path, as_version=4).cells
    assert kept.outputs[0].text == "smoke\n"
    assert not plain.outputs


def test_the_index_shows_every_notebook_and_its_faults(tmp_path):
    path = notebook(tmp_path, "1 / 0")
    runner.run_all([path], tmp_path / "out", SMOKE)
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "ZeroDivisionError" in page
    assert 'href="00_trap.html"' in page
    assert (tmp_path / "out" / "00_trap.html").stat().st_size > 1000
