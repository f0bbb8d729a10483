"""Every notebook runs at smoke scale: in time, memory and size, its exercises can be solved,
its golden cells print what they keep. One run of each serves all of it."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from course import runner, times

from tests.notebooks.files import NOTEBOOKS, SMOKE, mirror
from tests.notebooks.golden import differences

SECONDS = 60  # promised to the reader, two cores
SLACK = 1.5  # a busy machine may take this much longer
REFERENCE_S = 0.16  # of `slowness`, on a machine as fast as that of results/course.json
PEAK_BYTES = 2 * 2**30
SAVED_BYTES = 300_000

pytestmark = pytest.mark.notebook


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One notebook, run once in a folder that holds nothing else."""

    source: Path
    run: runner.Run
    left: set[str]  # names of what lies beside the notebooks afterwards and did not before
    slowness: float  # of the machine at that time


def slowness():
    """How many times as long as there a fixed piece of work takes here and now; 1 or more."""
    start, x = time.perf_counter(), torch.eye(64)
    for _ in range(10_000):
        x = torch.tanh(x @ x)
    return max(1.0, (time.perf_counter() - start) / REFERENCE_S)


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def ran(request, tmp_path_factory):
    folder, name = tmp_path_factory.mktemp(request.param.stem), request.param.name
    source = mirror(folder) / name
    before = set(source.parent.iterdir())
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("HYPERLAB_DATA", raising=False)
        done = runner.run(source, folder / "out" / name, SMOKE, rehearse=True)
    left = {path.name for path in set(source.parent.iterdir()) - before}
    return Ran(source=source, run=done, left=left, slowness=slowness())


def test_runs_and_its_exercises_can_be_solved(ran, record_property):
    done = ran.run
    record_property("notebook", done.name)
    record_property("seconds", done.seconds)
    record_property("peak_bytes", done.peak_bytes)
    assert not done.faults
    assert 0 < done.peak_bytes <= PEAK_BYTES
    assert done.seconds <= SECONDS * SLACK * ran.slowness
    assert times.saved_bytes(done.executed) <= SAVED_BYTES
    assert not ran.left, "leaves files beside itself"


def test_golden_cells_print_what_they_keep(ran):
    assert not list(differences(ran.source, ran.run.executed))
