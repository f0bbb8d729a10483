"""The bench of busy cores: what it starts, and what it says of a round that never ends."""

import subprocess

import bench_threads
import pytest

from hyperlab.base import ArtifactError

RUNNER = """
import os, sys, time
assert sys.argv[1:3] == ["--only", "07"] and sys.argv[3] == "--out"
assert os.environ["PYTHONPATH"] == os.getcwd() and "OMP_WAIT_POLICY" not in os.environ
time.sleep(float(open("seconds").read()))
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "data_scripts").mkdir()
    (tmp_path / "data_scripts" / "run_notebooks.py").write_text(RUNNER, encoding="utf-8")
    return tmp_path


def taken(tree, seconds, **limits):
    (tree / "seconds").write_text(seconds, encoding="utf-8")
    trees = {"now": tree}
    return bench_threads.measure(
        trees,
        ["data_scripts/run_notebooks.py", "--only", "07", "--out"],
        repeats=1,
        **limits,
    )


def test_a_round_lasts_until_its_last_copy_is_done(tree):
    for times in taken(tree, "0.3", limit_s=60.0).values():
        assert 0.3 < times["now"][0] < 60


def test_a_round_past_the_limit_has_no_seconds_and_leaves_no_process(tree, monkeypatch):
    begun, popen = [], subprocess.Popen
    keep = lambda *command, **options: begun.append(popen(*command, **options)) or begun[-1]
    monkeypatch.setattr(bench_threads.subprocess, "Popen", keep)
    monkeypatch.setattr(bench_threads, "SITUATIONS", {"busy": (2, 1)})
    assert taken(tree, "600", limit_s=0.5) == {"busy": {"now": [None]}}
    assert len(begun) == 3 and None not in [process.poll() for process in begun]


def test_a_copy_that_fails_ends_the_bench(tree):
    with pytest.raises(ArtifactError, match="run it alone"):
        taken(tree, "no number", limit_s=60.0)


def test_a_median_past_the_limit_is_said():
    assert bench_threads.row([20.0, 30.0, None], [10.0, 10.0, 12.0]) == "30 s (3.0 x)"
    assert bench_threads.row([20.0, None, None], [10.0, 10.0, 12.0]) == "past the limit"
