"""Collecting into a store: the same bytes however often it was interrupted."""

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hyperlab.base import ArtifactError, ConfigError, stream
from hyperlab.executor import Executor
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.collect import CollectConfig
from hyperlab.hyperflow.context import encode
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune
from hyperlab.tasks import roles
from tests.tiny import files, noise_domain, small_world, tiny_target

CONFIG = CollectConfig(
    protocol="5-way 1-shot",
    other="5-way 5-shot",
    mixed=0.5,
    styled=0.5,
    n_tasks=5,
    batch=2,
    teacher=TeacherConfig(steps=2, views=1),
)


VALUES = torch.tensor([1, 0, 1]).repeat_interleave(32).repeat(2).bool()  # not the keys


@pytest.fixture(autouse=True)
def domains(monkeypatch):
    """Two small real domains take the place of all the known ones."""
    small, ways = small_world()
    for name, way in ways.items():
        monkeypatch.setattr(roles, name, way)
    roles.kept.cache_clear()
    yield small
    roles.kept.cache_clear()


def killed_after(n):
    """A progress display during which the run dies."""

    def progress(items, *, total, desc):
        collecting = desc.startswith("collecting")
        yield from itertools.islice(items, n if collecting else None)
        if collecting and n < total:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def whole(tmp_path):
    return collect.collect(tiny_target(), tmp_path / "whole", CONFIG)


def test_a_collection_holds_every_task_with_its_context(whole):
    data = whole.read()
    assert data.thetas.shape == (5, 3, 2 * 96)
    assert data.contexts.features.shape == (5, 250, (2 * 2 + 2) * 32)
    n_support = (data.contexts.labels >= 0).sum(1)
    assert set(n_support.tolist()) <= {5, 25}
    assert torch.equal(n_support, torch.from_numpy(whole.group["n_support"][:]).long())
    assert torch.equal(data.thetas[:, 0], tiny_target().theta0.expand(5, -1))


def test_the_tasks_of_a_store_can_be_drawn_again(whole):
    target, data = tiny_target(), whole.read()
    pairs = list(collect.redrawn(whole))
    assert len(pairs) == len(data) == 5
    for i, (support, path) in enumerate(pairs):
        assert torch.equal(path, data.thetas[i])
        context = encode(target, support)
        features = data.contexts.features[i, : len(context.labels)]
        torch.testing.assert_close(features, context.features.half())


def test_tasks_are_not_drawn_again_from_other_data(whole, monkeypatch):
    monkeypatch.setattr(roles, "present", lambda role, root=None: (roles.Source("sand"),))
    with pytest.raises(ArtifactError, match="domains: was"):
        next(collect.redrawn(whole))


@pytest.mark.parametrize("n", [0, 1, 2])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(whole, tmp_path, n):
    target, path = tiny_target(), tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        collect.collect(target, path, CONFIG, progress=killed_after(n))
    resumed = collect.collect(target, path, CONFIG)
    assert resumed.missing == []
    assert files(path) == files(whole.path)


def test_the_order_of_the_batches_does_not_matter(whole, tmp_path):
    for k in (1, 0):
        half = Executor(share=(k, 2))
        collect.collect(tiny_target(), tmp_path / "back", CONFIG, executor=half)
    assert files(tmp_path / "back") == files(whole.path)


def test_damaged_batches_are_made_anew_and_no_others(whole):
    before = files(whole.path)
    (Path(whole.path) / "thetas" / "c" / "1" / "0" / "0").unlink()
    made = {}

    def watched(items, *, total, desc):
        made[desc.split()[0]] = total
        return items

    collect.collect(tiny_target(), whole.path, CONFIG, progress=watched)
    assert made == {"checking": 3, "collecting": 1}
    assert files(whole.path) == before


def test_a_finished_store_is_left_alone_and_refuses_another_target(whole):
    before = files(whole.path)
    collect.collect(tiny_target(), whole.path, CONFIG, progress=killed_after(0))
    with pytest.raises(ArtifactError, match="target: was 'tiny-"):
        collect.collect(tiny_target(seed=1), whole.path, CONFIG)
    assert files(whole.path) == before


def test_a_store_of_another_configuration_is_refused(whole):
    teacher = replace(CONFIG.teacher, lr=3.0)
    with pytest.raises(ArtifactError) as caught:
        collect.collect(tiny_target(), whole.path, replace(CONFIG, seed=1, teacher=teacher))
    lr = f"config.teacher.lr: was {CONFIG.teacher.lr}, is 3.0"
    assert f"(config.seed: was 0, is 1; {lr})" in str(caught.value)  # and nothing else


def test_a_task_is_the_same_however_many_are_asked_for():
    first = list(collect.draw_tasks(CONFIG, 1))
    again = list(collect.draw_tasks(replace(CONFIG, n_tasks=50), 1))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one.episode.support.images, two.episode.support.images)


def test_the_store_holds_what_fine_tuning_alone_gives(whole):
    target = tiny_target()
    task = list(collect.draw_tasks(CONFIG, 0))[1]
    views = stream(CONFIG.seed, CONFIG.role, "views", 1)
    joined = Supports.join([task.episode.support])
    steps = list(fine_tune(target, joined, CONFIG.teacher, [views]))
    alone = torch.cat([theta for theta, _ in steps])[:, VALUES]
    torch.testing.assert_close(whole.read().thetas[1][:, VALUES], alone, rtol=0, atol=1e-4)


def test_a_task_that_diverges_is_marked_and_left_out(tmp_path, monkeypatch):
    def broken(*args, starts):
        for theta, loss in fine_tune(*args, starts=starts):
            spoilt = theta.clone()
            spoilt[0] = float("nan")
            yield spoilt, loss

    monkeypatch.setattr(collect, "fine_tune", broken)
    store = collect.collect(tiny_target(), tmp_path / "store", CONFIG)
    assert store.group["diverged"][:].tolist() == [True, False, True, False, True]
    assert len(store.read()) == 2


def test_a_loss_that_explodes_counts_as_divergence(tmp_path):
    teacher = replace(CONFIG.teacher, optimiser="sgd", lr=1e30)
    config = replace(CONFIG, teacher=teacher)
    store = collect.collect(tiny_target(), tmp_path / "store", config)
    assert store.group["diverged"][:].all()


def test_a_class_with_too_few_images_is_named(domains, tmp_path):
    for name in domains:
        domains[name] = noise_domain(name, [20, 20, 3, 20, 20])
    with pytest.raises(ConfigError, match=r"(sand|snow) 2.*3"):
        collect.collect(tiny_target(), tmp_path / "store", CONFIG)
    assert collect.TrajectoryStore.open(tmp_path / "store").missing == [0, 1, 2]


@pytest.mark.parametrize(
    "wrong",
    [{"role": "test"}, {"protocol": "7-way"}, {"n_tasks": 0}, {"batch": -1}],
    ids=str,
)
def test_what_cannot_be_collected_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"have \[|must be >= 1"):
        replace(CONFIG, **wrong)


def test_where_memory_is_short_half_of_the_tasks_go_at_a_time(
    tmp_path, whole, monkeypatch, caplog
):
    asked = []

    def small(target, supports, *rest, starts):
        asked.append(len(supports.n_way))
        if len(supports.n_way) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fine_tune(target, supports, *rest, starts=starts)

    monkeypatch.setattr(collect, "fine_tune", small)
    store = collect.collect(tiny_target(), tmp_path / "store", CONFIG)
    assert asked == [2, 1, 1, 2, 1, 1, 1]
    assert "out of memory with 2 tasks at once" in caplog.text
    found, wanted = (s.read().thetas[..., VALUES] for s in (store, whole))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_a_task_that_does_not_fit_at_all_is_named(tmp_path, monkeypatch):
    def full(*args, **starts):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(collect, "fine_tune", full)
    with pytest.raises(ConfigError, match="25 images does not fit|5 images does not fit"):
        collect.collect(tiny_target(), tmp_path / "store", CONFIG)


@pytest.mark.parametrize("tf32", [True, False])
def test_the_kind_of_products_is_put_back(tf32):
    before = torch.backends.cuda.matmul.fp32_precision
    with collect.products(tf32=tf32):
        inside = torch.backends.cuda.matmul.fp32_precision
    assert inside == ("tf32" if tf32 else "ieee")
    assert torch.backends.cuda.matmul.fp32_precision == before


def test_passes_hold_as_many_tasks_as_fit():
    def groups(sizes):
        return [(s.start, s.stop) for s in collect.passes(sizes, 100)]

    assert groups([25] * 9) == [(0, 4), (4, 8), (8, 9)]
    assert groups([300, 10, 20, 200]) == [(0, 1), (1, 3), (3, 4)]
    assert groups([5]) == [(0, 1)]
