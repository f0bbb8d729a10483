"""CIFAR's pickles are read as data; nothing that one names is ever called."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from hyperlab.base import ArtifactError
from hyperlab.tasks import formats
from tests.tasks.miniatures import Command, noise, write_cifar100, write_pickle


def test_fine_classes_of_cifar100_are_grouped_by_superclass(tmp_path):
    write_cifar100(tmp_path)
    part = formats.cifar100(tmp_path)
    assert part.groups == tuple(f"coarse{k // 5}" for k in range(100))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, protocol):
    flag = tmp_path / "it ran"
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": Command(flag)}, protocol))
    with pytest.raises(ArtifactError, match="mkdir, which is not data"):
        formats.unpickle(tmp_path / "batch")
    assert not flag.exists()


@pytest.mark.parametrize("named", [eval, np.load, np.random.default_rng, Path, getattr])
def test_pickle_may_name_nothing_but_arrays(tmp_path, named):
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": named}))
    with pytest.raises(ArtifactError, match="not data"):
        formats.unpickle(tmp_path / "batch")


@pytest.mark.parametrize("cut", [0, 1, 10, 100, -1])
def test_cut_pickle_is_refused(tmp_path, cut):
    write_pickle(tmp_path / "batch", {b"data": noise(2, 3072), b"labels": [0, 1]})
    whole = (tmp_path / "batch").read_bytes()
    (tmp_path / "batch").write_bytes(whole[:cut])
    with pytest.raises(ArtifactError, match="batch"):
        formats.unpickle(tmp_path / "batch")


def test_pickled_arrays_of_python_3_are_read_too(tmp_path):
    array = noise(2, 3072)
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": array, "labels": [0, 1]}, 4))
    np.testing.assert_array_equal(formats.unpickle(tmp_path / "batch")["data"], array)
