"""The store: whole batches or none, nothing foreign, nothing damaged."""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr

from hyperlab.base import ArtifactError, DataMissingError
from hyperlab.hyperflow.trajectories import Stream, TrajectoryStore
from tests.tiny import files

SIZES = {"task": 5, "knot": 3, "param": 4, "image": 6, "input": 7, "dim": 2}
ABOUT = {"config": {"lr": 0.1}, "domains": ["a", "b"], "token_size": 2}
BATCH = 2  # so the last of the three batches is not full


def arrays(batch):
    """What one batch holds; every number tells its batch."""
    rng = np.random.default_rng(batch)
    n = min(BATCH, SIZES["task"] - batch * BATCH)
    found = {
        name: rng.normal(size=(n, *(SIZES[d] for d in column.dims[1:])))
        for name, column in TrajectoryStore.columns.items()
    }
    labels = np.tile([0, 0, 1, 1, -1, -1], (n, 1))
    numbers = {"domain": np.full(n, batch % 2), "n_way": np.full(n, 2)}
    flags = {"styled": np.ones(n, bool), "diverged": np.zeros(n, bool)}
    return found | numbers | flags | {"labels": labels, "n_support": np.full(n, 4)}


def new(path, about=ABOUT):
    return TrajectoryStore.create(path, SIZES, batch=BATCH, about=about)


@pytest.fixture
def store(tmp_path):
    """All three batches, written."""
    store = new(tmp_path / "store")
    for batch in range(3):
        store.write(batch, arrays(batch))
    return store


def chunk(store, name, batch):
    """The file of one array's chunk."""
    folder = Path(store.path) / name / "c" / str(batch)
    return next(path for path in folder.rglob("0") if path.is_file())


def test_what_is_written_is_what_is_read(store):
    data = store.read()
    expected = np.concatenate([arrays(batch)["thetas"] for batch in range(3)])
    np.testing.assert_array_equal(data.thetas.numpy(), expected.astype("f4"))
    assert len(data) == 5
    assert (data.domains, data.domain.tolist()) == (("a", "b"), [0, 0, 1, 1, 0])
    assert data.times.tolist() == [0, 0.5, 1]
    torch.testing.assert_close(data.displacement, data.thetas[:, 2] - data.thetas[:, 0])


def test_it_is_a_table_with_named_dimensions(store):
    table = store.dataset()
    assert table["thetas"].dims == ("task", "knot", "param")
    assert table.sizes["task"] == 5
    assert float(table["losses"].isel(task=3, knot=1)) == store.read().losses[3, 1]


def test_a_store_of_whole_batches_lacks_the_others(tmp_path):
    store = new(tmp_path / "store")
    assert store.missing == [0, 1, 2]
    store.write(1, arrays(1))
    assert store.missing == [0, 2]
    assert len(store.read()) == 2


def test_an_empty_store_says_that_it_holds_nothing_yet(tmp_path):
    store = new(tmp_path / "store")
    for read in (store.read, lambda: Stream(store)):
        with pytest.raises(ArtifactError, match="no complete batch yet"):
            read()


def test_tasks_that_diverged_are_marked_and_left_out(tmp_path):
    store = new(tmp_path / "store")
    store.write(0, arrays(0) | {"diverged": np.array([False, True])})
    assert store.dataset()["diverged"].values.tolist() == [False, True, False, False, False]
    assert len(store.read()) == 1


@pytest.mark.parametrize("name", ["thetas", "losses", "features", "labels"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_chunk_that_is_gone_is_found(store, name, batch):
    chunk(store, name, batch).unlink()
    assert store.damaged() == [batch]


@pytest.mark.parametrize("name", ["thetas", "residual"])
def test_a_truncated_chunk_is_found_and_can_be_written_again(store, name):
    path = chunk(store, name, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert store.damaged() == [2]
    with pytest.raises(ArtifactError, match=r"batches \[2\] are damaged; collect again"):
        store.read()
    store.write(2, arrays(2))
    assert path.read_bytes() == whole
    assert store.damaged() == []


def test_numbers_that_changed_are_found(store):
    store.group["thetas"][0, 1, 2] += 1e-6
    assert store.damaged() == [0]


def test_no_store_names_the_script(tmp_path):
    with pytest.raises(DataMissingError, match=r"run: python data_scripts/collect_traj"):
        TrajectoryStore.open(tmp_path / "nothing")


def a_foreign_folder(path):
    (path / "other").mkdir()
    (path / "other" / "holiday.jpg").write_bytes(b"...")
    return path / "other"


def a_foreign_group(path):
    group = zarr.open_group(str(path / "other"), mode="w")
    group.create_array("x", shape=1, dtype="f4")
    return path / "other"


def without_an_array(path):
    shutil.rmtree(path / "losses")
    return path


def with_a_truncated_header(path):
    (path / "zarr.json").write_bytes((path / "zarr.json").read_bytes()[:40])
    return path


REFUSED = {
    a_foreign_folder: "no readable store",
    a_foreign_group: "no whole store of trajectories: it lacks",
    without_an_array: r"lacks \['losses'\]",
    with_a_truncated_header: "no readable store",
}


@pytest.mark.parametrize(("spoil", "says"), REFUSED.items(), ids=lambda x: str(x)[:30])
def test_what_is_no_whole_store_is_refused_and_left_as_it_was(store, spoil, says):
    path = spoil(Path(store.path))
    before = files(path)
    for way in (TrajectoryStore.open, new):
        with pytest.raises(ArtifactError, match=says):
            way(path)
    assert files(path) == before


def a_file(path):
    path.write_text("a file, not a folder", encoding="utf-8")


def a_read_only_folder(path):
    path.mkdir(mode=0o500)


ROOT = not hasattr(os, "geteuid") or os.geteuid() == 0  # may write everywhere
READ_ONLY = pytest.param(a_read_only_folder, marks=pytest.mark.skipif(ROOT, reason="root"))


@pytest.mark.parametrize("make", [a_file, READ_ONLY])
def test_a_place_that_cannot_hold_a_store_is_refused(tmp_path, make):
    make(tmp_path / "place")
    with pytest.raises(ArtifactError, match="choose a folder you may write to"):
        new(tmp_path / "place" / "store")


def test_another_configuration_is_refused_with_both_named(store):
    with pytest.raises(ArtifactError, match=r"config\.lr: was 0\.1, is 0\.2"):
        new(store.path, ABOUT | {"config": {"lr": 0.2}})


def test_the_same_configuration_opens_what_is_there(store):
    assert new(store.path).missing == []


def test_a_full_disk_loses_one_batch_and_says_how_to_go_on(store, monkeypatch):
    def full(self, rows, values):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(ArtifactError, match="No space left.*run again to resume"):
            store.write(1, arrays(1))
    assert store.damaged() == []
    assert len(store.read()) == 5


def test_a_batch_that_was_interrupted_is_missing(store, monkeypatch):
    put = zarr.Array.__setitem__

    def killed(self, rows, values):
        if self.basename == "residual":
            raise KeyboardInterrupt
        put(self, rows, values)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", killed)
        with pytest.raises(KeyboardInterrupt):
            store.write(1, arrays(0))
    assert store.missing == [1]
    assert store.damaged() == []
    assert store.read().domain.tolist() == [0, 0, 0]


def test_a_unit_is_the_size_of_a_token_and_zero_where_nothing_moves(store):
    data = store.read()
    data.thetas[..., 2:] = 0
    expected = data.displacement[:, :2].square().mean().sqrt()
    torch.testing.assert_close(data.unit(), torch.tensor([expected, expected, 0, 0]))


def test_contexts_are_no_longer_than_their_longest_task(store):
    context = store.read().trimmed(torch.tensor([0, 3])).contexts
    assert context.features.shape == (2, 4, 7)
    assert context.labels.tolist() == [[0, 0, 1, 1]] * 2


def test_some_of_the_tasks_are_a_set_of_tasks(store):
    data = store.read()
    some = data.of(data.domain == 1)
    assert len(some) == 2
    assert torch.equal(some.thetas, data.thetas[2:4])
    assert some.domains == data.domains


def test_several_may_create_the_same_store_at_the_same_moment(tmp_path):
    sizes = {"task": 4, "knot": 3, "param": 5, "image": 2, "input": 3, "dim": 2}
    start = threading.Barrier(4)

    def create(path):
        start.wait()
        return TrajectoryStore.create(path, sizes, batch=2, about={"seed": 0})

    with ThreadPoolExecutor(4) as pool:
        for i in range(10):
            stores = list(pool.map(create, [tmp_path / str(i)] * 4))
            assert [store.missing for store in stores] == [[0, 1]] * 4
