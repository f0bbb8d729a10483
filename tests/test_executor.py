"""One job for many items, whoever does it."""

import os
import signal
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from hyperlab import executor
from hyperlab.base import ArtifactError, ConfigError
from hyperlab.executor import Executor

UNGUARDED = """
from hyperlab.executor import Executor

def job(shared, item):
    return item

list(Executor(workers=2).each(job, [1, 2], 0))
"""


def job(shared, item):
    """The item, what it is added to, and how many threads torch has there."""
    if item == 13:
        raise ConfigError("thirteen")
    return item, shared + item, torch.get_num_threads()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_done_once_on_one_thread(workers):
    done = list(Executor(workers=workers).each(job, [3, 1, 2], 10))
    assert sorted(done) == [(1, 11, 1), (2, 12, 1), (3, 13, 1)]


def test_the_caller_has_its_threads_back():
    before = torch.get_num_threads()
    for _ in Executor().each(job, [1, 2], 0):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_job_reaches_the_caller(workers):
    with pytest.raises(ConfigError, match="thirteen"):
        list(Executor(workers=workers).each(job, [1, 13, 2], 0))


def test_shares_are_apart_and_together_all():
    items = list(range(10))
    parts = [Executor(share=(k, 3)).take(items) for k in range(3)]
    assert sorted(sum(parts, [])) == items


@pytest.mark.parametrize("wrong", [{"share": (2, 2)}, {"share": (-1, 2)}, {"workers": 0}])
def test_an_executor_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="want a share"):
        Executor(**wrong)


def test_without_dask_a_cluster_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'hyperlab\[cluster\]'"):
        list(Executor(scheduler="tcp://x:1").each(job, [1], 0))


def killed(shared, item):
    os.kill(os.getpid(), shared)


def test_of_a_killed_worker_the_signal_is_named():
    with pytest.raises(ArtifactError, match="ended by SIGKILL, as where memory runs out"):
        list(Executor(workers=2).each(killed, [1, 2], signal.SIGKILL))


@pytest.mark.parametrize(
    ("codes", "name"), [([0, -11, -15], "SIGSEGV"), ([-15, -15], "SIGTERM")]
)
def test_a_signal_is_told_from_the_one_that_ends_the_other_workers(codes, name):
    words = str(executor._death(codes))
    assert f"ended by {name};" in words and "memory" not in words


def test_a_script_without_a_guard_is_told_so_and_not_of_memory(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, encoding="utf-8")
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and 'under `if __name__ == "__main__":`' in last
    assert "memory" not in done.stderr


def test_workers_that_cannot_begin_in_a_notebook_say_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    assert "put the job and its classes into a .py file" in str(executor._death([1, -15]))


def test_a_job_that_cannot_be_sent_is_refused_before_any_worker_begins():
    with pytest.raises(ConfigError, match="define it at the top of a module"):
        list(Executor(workers=2).each(lambda shared, item: item, [1, 2], 0))
