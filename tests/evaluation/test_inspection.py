"""What a store says of itself."""

import inspect_store
import numpy as np
import pytest

from hyperlab.base import ArtifactError
from hyperlab.hyperflow.trajectories import TrajectoryStore
from tests.hyperflow.test_trajectories import SIZES, arrays

ABOUT = {
    "config": {"teacher": {"steps": 2, "lr": 0.1, "optimiser": "sgd"}, "seed": 0},
    "target": "tiny-1",
    "version": "0",
    "domains": ["sand", "snow"],
    "token_size": 2,
}


@pytest.fixture
def store(tmp_path):
    """Batches 0 and 2 of three; the first task diverged."""
    store = TrajectoryStore.create(tmp_path / "store", SIZES, batch=2, about=ABOUT)
    store.write(0, arrays(0) | {"diverged": np.array([True, False])})
    store.write(2, arrays(2))
    return store


def test_it_counts_what_is_there_what_lacks_and_what_diverged(store):
    words = inspect_store.inspect(store).words
    assert "2 sound tasks of 5, 1 diverged" in words
    assert "2 of 3 there; missing: 1; not checked" in words
    assert "2 steps of 0.1 (sgd), seed 0" in words


def test_every_domain_has_a_row_and_a_mean_curve(store):
    found = inspect_store.inspect(store)
    assert found.table["domain"].tolist() == ["sand"] and found.table["tasks"].tolist() == [
        2
    ]
    times, curve = found.curves["sand"]
    assert times.tolist() == [0, 0.5, 1]
    expected = store.group["losses"][:][[1, 4]].mean(0)
    np.testing.assert_allclose(curve.numpy(), expected, rtol=1e-6)


def test_damage_is_found_when_asked_for(store):
    store.group["thetas"][4, 1, 1] += 1
    assert inspect_store.inspect(store).damaged is None
    assert inspect_store.inspect(store, check=True).damaged == [2]


def test_a_store_with_nothing_in_it_is_refused(tmp_path):
    empty = TrajectoryStore.create(tmp_path / "store", SIZES, batch=2, about=ABOUT)
    with pytest.raises(ArtifactError, match="no sound task yet"):
        inspect_store.inspect(empty)


@pytest.mark.parametrize(
    ("numbers", "words"), [([], "none"), ([4], "4"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9-10")]
)
def test_runs_of_numbers_are_short(numbers, words):
    assert inspect_store.ranges(numbers) == words
