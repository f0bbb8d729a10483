"""What the machine lacks is skipped and said."""

import os
from pathlib import Path

import jaxtyping
import pytest
import torch

# A worker of many has one thread, and so have the kernels and scripts that it starts.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
THREADS = torch.get_num_threads()
ALONE = ("test_scripts.py",)  # their tests go to any worker


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes")


def pytest_configure():
    """A data root is named from here; copies of notebooks run in other folders."""
    if root := os.environ.get("HYPERLAB_DATA"):
        os.environ["HYPERLAB_DATA"] = str(Path(root).expanduser().absolute())


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups when its own turn comes
def pytest_collection_modifyitems(config, items):
    """Skip what needs time, an accelerator or real images that are not here; browser last.

    The browser's driver keeps an event loop running, in which no test could start its own.
    Workers share the tests file by file, for a file's fixtures are made once; the course
    notebook by notebook; scripts, which take long and share nothing, one by one.
    """
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
    root = os.environ.get("HYPERLAB_DATA")
    missing = {
        "slow": not config.getoption("--slow") and "takes minutes; run with --slow",
        "gpu": not torch.cuda.is_available() and "needs an accelerator",
        "data": not (root and Path(root).is_dir()) and "set HYPERLAB_DATA to a data root",
    }
    for item in items:
        if item.path.name not in ALONE:
            notebook = getattr(item, "callspec", None) and item.callspec.params.get("ran")
            item.add_marker(pytest.mark.xdist_group(f"{item.path} {notebook or ''}"))
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def as_many_threads_as_at_first():
    """Some libraries set torch's number; two workers of two threads each crawl on two cores."""
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """As for a user: only tests read the shape annotations, and here not even they."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def pytest_terminal_summary(terminalreporter):
    """A table of seconds and memory after the notebooks have run."""
    rows = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            seen = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", "") == "call" and "notebook" in seen:
                rows.append((seen["notebook"], seen["seconds"], seen["peak_bytes"]))
    if rows:
        terminalreporter.section("notebooks at smoke scale")
    for name, seconds, peak_bytes in sorted(rows):
        terminalreporter.line(f"{name:40} {seconds:6.1f} s {peak_bytes / 2**20:6.0f} MiB")
