"""One job for many items, whoever does it."""

import sys

import pytest
import torch

from hyperlab.base import ConfigError
from hyperlab.crew import Crew


def job(shared, item):
    """The item, what it is added to, and how many threads torch has there."""
    if item == 13:
        raise ConfigError("thirteen")
    return item, shared + item, torch.get_num_threads()


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_done_once_on_one_thread(workers):
    done = list(Crew(workers=workers).each(job, [3, 1, 2], 10))
    assert sorted(done) == [(1, 11, 1), (2, 12, 1), (3, 13, 1)]


def test_the_caller_has_its_threads_back():
    before = torch.get_num_threads()
    for _ in Crew().each(job, [1, 2], 0):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_job_reaches_the_caller(workers):
    with pytest.raises(ConfigError, match="thirteen"):
        list(Crew(workers=workers).each(job, [1, 13, 2], 0))


def test_shares_are_apart_and_together_all():
    items = list(range(10))
    parts = [Crew(share=(k, 3)).take(items) for k in range(3)]
    assert sorted(sum(parts, [])) == items


@pytest.mark.parametrize("wrong", [{"share": (2, 2)}, {"share": (-1, 2)}, {"workers": 0}])
def test_a_crew_that_cannot_be_is_refused(wrong):
    with pytest.raises(ConfigError, match="want a share"):
        Crew(**wrong)


def test_without_dask_a_cluster_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install 'hyperlab\[cluster\]'"):
        list(Crew(scheduler="tcp://x:1").each(job, [1], 0))
