"""Threads: they sleep while they wait, and there are no more than the work keeps busy."""

import ast
import json
import os
import subprocess
import sys

import pytest
import torch

from hyperlab import notebook
from tests.notebooks.files import NOTEBOOKS, ROOT

SCRIPTS = sorted((ROOT / "data_scripts").glob("*.py"))
DEFAULT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("OMP_", "GOMP_", "MKL_"))
}
NUMBER = """
from hyperlab import notebook
notebook.check({!r})
print(notebook.torch.get_num_threads())
"""


def fresh(code, **environment):
    """What a new process prints, as (output, errors)."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        env=DEFAULT | environment,
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return done.stdout.strip(), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="another OpenMP")
def test_threads_that_wait_sleep_unless_the_user_says_otherwise():
    show = {"OMP_DISPLAY_ENV": "verbose"}
    assert "GOMP_SPINCOUNT = '0'" in fresh("from hyperlab import base", **show)[1]
    show["GOMP_SPINCOUNT"] = "300000"
    assert "GOMP_SPINCOUNT = '300000'" in fresh("from hyperlab import base", **show)[1]


def roots(source):
    """The third-party packages and hyperlab, in the order of a program's imports."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Try):
            yield from roots(ast.unparse(node.body))


def program(path):
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells[:8] if c["cell_type"] == "code")


@pytest.mark.parametrize("path", [*SCRIPTS, *NOTEBOOKS], ids=lambda path: path.stem)
def test_every_program_imports_hyperlab_before_what_loads_openmp(path):
    order = [name for name in roots(program(path)) if name not in sys.stdlib_module_names]
    assert order[0] == "hyperlab"


@pytest.mark.parametrize(("scale", "n"), [("smoke", 1), ("laptop", 2)])
def test_a_kernel_takes_no_more_threads_than_its_scale_keeps_busy(scale, n):
    assert int(fresh(NUMBER.format(scale))[0]) == min(n, os.cpu_count())


def test_a_kernel_takes_the_threads_that_the_user_names():
    all_cores = str(os.cpu_count())
    assert fresh(NUMBER.format("smoke"), OMP_NUM_THREADS=all_cores)[0] == all_cores


def test_a_scale_never_adds_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(1)
    notebook.check("laptop")
    assert torch.get_num_threads() == 1
