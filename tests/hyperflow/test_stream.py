"""Mini-batches from a store that is not held in memory."""

import itertools

import numpy as np
import pytest
import torch

from hyperlab.base import ArtifactError, ahead, stream
from hyperlab.hyperflow import training
from hyperlab.hyperflow.trajectories import LIKE, Stream, TrajectoryStore
from tests.tiny import tiny_target

TARGET = tiny_target()
DIM, N = 32, 30
SIZES = {"task": N, "knot": 4, "param": 6 * DIM, "image": 9, "input": 6 * DIM, "dim": DIM}


@pytest.fixture
def store(tmp_path):
    """Thirty tasks in batches of four; theta of task i is i; task 5 diverged."""
    about = {"domains": ["a"], "token_size": DIM}
    store = TrajectoryStore.create(tmp_path / "store", SIZES, batch=4, about=about)
    for batch in range(8):
        store.write(batch, arrays(batch))
    return store


def arrays(batch):
    tasks = np.arange(N)[4 * batch : 4 * batch + 4]
    n = len(tasks)
    rng = np.random.default_rng(batch)
    thetas = rng.normal(size=(n, 4, 6 * DIM)).cumsum(1)
    thetas[:, 0] = 0
    thetas[..., 0] = tasks[:, None]
    n_support = 4 + tasks % 4
    labels = np.where(np.arange(9) < n_support[:, None], np.arange(9) % 2, -1)
    there = (labels >= 0)[..., None]
    return {
        "thetas": thetas,
        "losses": np.ones((n, 4)),
        "features": rng.normal(size=(n, 9, 6 * DIM)) * there,
        "residual": rng.normal(size=(n, 9, DIM)) * there,
        "labels": labels,
        "domain": np.zeros(n),
        "styled": np.zeros(n),
        "perturbed": np.zeros(n),
        "n_way": np.full(n, 2),
        "n_support": n_support,
        "diverged": tasks == 5,
    }


def numbers(batch):
    return batch.thetas[:, 0, 0].int().tolist()


def test_every_sound_task_is_seen_once_before_any_is_seen_again(store):
    tasks = Stream(store, memory_bytes=1)._tasks(stream(0))
    for _ in range(3):
        seen = [numbers(next(tasks))[0] for _ in range(N - 1)]
        assert sorted(seen) == [i for i in range(N) if i != 5]


@pytest.mark.parametrize(("memory", "draws"), [(1, 1), (100_000, 1), (10**9, 2)])
def test_mini_batches_hold_tasks_with_their_own_contexts(store, memory, draws):
    data = Stream(store, memory_bytes=memory, draws=draws)
    drawn = list(itertools.islice(data.batches(5, stream(0)), 40))
    whole = store.read()
    for batch in drawn:
        assert len(batch) == 5
        for row, i in enumerate(numbers(batch)):
            place = i - (i > 5)
            n = 4 + i % 4
            assert torch.equal(batch.thetas[row], whole.thetas[place])
            assert int((batch.contexts.labels[row] >= 0).sum()) == n
            found = batch.contexts.features[row, :n]
            assert torch.equal(found, whole.contexts.features[place, :n])
    counts = torch.bincount(torch.tensor([i for b in drawn for i in numbers(b)]))
    counts = counts[torch.arange(N) != 5]
    assert counts.min() >= 2 and counts.max() <= 14  # 200 draws of 29 tasks


def test_a_task_is_read_once_for_so_many_draws(store, monkeypatch):
    data, reads = Stream(store, memory_bytes=1, draws=5), []
    read = store.batch
    monkeypatch.setattr(store, "batch", lambda b: reads.append(b) or read(b))
    list(itertools.islice(data.batches(5, stream(0)), 80))
    assert (
        80 / 4 <= len(reads) <= (80 + LIKE * 5) / 4 + 6
    )  # one new task a step, a pool ahead


def test_the_same_seed_draws_the_same(store):
    drawn = [itertools.islice(Stream(store).batches(5, stream(3)), 10) for _ in range(2)]
    one, two = ([numbers(batch) for batch in batches] for batches in drawn)
    assert one == two


def test_a_drift_network_is_trained_from_a_stream(store):
    config = training.DriftConfig(steps=5, batch=4, width=16)
    net, _ = training.fit_drift(Stream(store), config, generator=stream(0, "fit"))
    held, _ = training.fit_drift(store.read(), config, generator=stream(0, "fit"))
    assert net.shape == held.shape
    assert torch.equal(net.theta0[1:], held.theta0[1:])  # the first tells the task


def test_a_damaged_batch_is_named(store):
    store.group["thetas"][9, 1, 1] += 1
    with pytest.raises(ArtifactError, match=r"batches \[2\] are damaged"):
        list(itertools.islice(Stream(store).batches(4, stream(0)), 20))


def test_items_made_ahead_are_the_same_items_and_an_error_reaches_the_caller():
    assert list(ahead(iter(range(10)), n=3)) == list(range(10))

    def broken():
        yield 1
        raise OSError("gone")

    items = ahead(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)
