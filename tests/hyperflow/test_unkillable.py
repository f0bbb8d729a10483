"""However a run ends, the next one goes on from there and ends in the same bytes."""

import itertools
import os
import random
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

import hyperlab.executor
from hyperlab.base import ArtifactError, ConfigError
from hyperlab.executor import Executor
from hyperlab.hyperflow import collect
from hyperlab.tasks import roles
from tests.runs import (
    CONFIG,
    FATAL,
    TASKS,
    Packed,
    ended,
    in_small_world,
    killed_in_small_world,
    started,
    worker_of,
)
from tests.tiny import files, small_world, tiny_target


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run, and how long it took (the first one waits for the imports)."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("first", "second"):
        start = time.monotonic()
        assert ended(started(folder / name)) == 0
    return folder / "second", time.monotonic() - start


def test_twenty_runs_killed_at_random_moments_end_in_the_same_bytes(whole, tmp_path):
    reference, seconds = whole
    dice, left, stores = random.Random(0), [], itertools.count()
    path, kills = tmp_path / f"store{next(stores)}", 0
    while kills < 20:
        process = started(path)
        time.sleep(dice.uniform(0, seconds / 4))
        process.kill()
        code = ended(process)
        assert code in (0, -signal.SIGKILL)
        if code == 0:  # faster than the kill: whole, and another one is begun
            assert files(path) == files(reference)
            path, left = tmp_path / f"store{next(stores)}", []
            continue
        kills += 1
        made = path.exists() and (path / "mark" / "zarr.json").exists()
        left.append(len(collect.TrajectoryStore.open(path).missing) if made else TASKS // 2)
        assert left == sorted(left, reverse=True), "a kill lost what was whole"
    assert ended(started(path)) == 0
    assert files(path) == files(reference)


def test_two_runs_at_once_fill_one_store(whole, tmp_path):
    path = tmp_path / "store"
    both = [started(path), started(path)]
    assert [ended(process) for process in both] == [0, 0]
    assert files(path) == files(whole[0])


@pytest.fixture
def elsewhere(monkeypatch):
    """Jobs may run in other processes, which know nothing of the small world."""
    for name, way in small_world()[1].items():
        monkeypatch.setattr(roles, name, way)
    monkeypatch.setattr(collect, "_fill", in_small_world)


def test_several_workers_write_the_same_bytes(whole, tmp_path, elsewhere):
    path = tmp_path / "store"
    collect.collect(tiny_target(), path, CONFIG, executor=Executor(workers=2))
    assert files(path) == files(whole[0])


def test_a_worker_that_is_killed_is_named_and_nothing_is_lost(
    whole, tmp_path, elsewhere, monkeypatch
):
    path, target = tmp_path / "store", tiny_target()
    with monkeypatch.context() as patch:
        patch.setattr(collect, "_fill", killed_in_small_world)
        with pytest.raises(ArtifactError, match="ended by SIGKILL.*run again to resume"):
            collect.collect(target, path, CONFIG, executor=Executor(workers=2))
    lost = [batch for batch in collect.TrajectoryStore.open(path).missing if batch < FATAL]
    assert len(lost) <= 1, "only what the other worker had in hand"
    collect.collect(target, path, CONFIG)
    assert files(path) == files(whole[0])


@pytest.fixture(scope="module")
def cluster():
    """A real Dask cluster of two worker processes."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        yield made


def test_a_cluster_that_loses_a_worker_writes_the_same_bytes(
    whole, tmp_path, elsewhere, cluster
):
    with Client(cluster) as client:
        victim = next(iter(client.run(os.getpid).values()))

    def killing(items, *, total, desc):
        for done, item in enumerate(items):
            if done == 3:
                os.kill(victim, signal.SIGKILL)
            yield item

    path, executor = tmp_path / "store", Executor(scheduler=cluster.scheduler_address)
    collect.collect(tiny_target(), path, CONFIG, executor=executor, progress=killing)
    assert files(path) == files(whole[0])


def test_workers_of_a_cluster_never_pack_what_they_share(cluster):
    """A worker packs for its peers while it works, and functional_call has swapped the weights."""
    executor = Executor(scheduler=cluster.scheduler_address)
    with Client(cluster) as client:
        client.wait_for_workers(2)  # one may have been killed, and is being replaced
    done = list(executor.each(worker_of, range(40), Packed()))
    assert len(set(done)) >= 2
    assert {where for _, where in done} == {(os.getpid(),)}


def test_a_cluster_that_is_not_there_is_named(tmp_path, elsewhere, monkeypatch):
    monkeypatch.setattr(hyperlab.executor, "WAIT_S", 1)
    executor = Executor(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ConfigError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        collect.collect(tiny_target(), tmp_path / "store", CONFIG, executor=executor)


def test_a_full_disk_stops_the_run_and_the_next_goes_on(whole, tmp_path):
    path = tmp_path / "store"
    assert ended(started(path, limit=3_000)) == 3
    assert ended(started(path)) == 0
    assert files(path) == files(whole[0])


def test_a_store_that_may_not_be_written_to_is_left_as_it_is(whole):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path, some = Path(folder) / "store", replace(CONFIG, n_tasks=4)
        assert ended(started(path, some)) == 0
        (path / "mark" / "c" / "1").unlink()
        before, nobody = files(path), 65_534 if os.geteuid() == 0 else 0
        if not nobody:
            for folder in path.rglob("*"):
                folder.chmod(folder.stat().st_mode & 0o555)
        assert ended(started(path, some, user=nobody)) == 3
        assert files(path) == before
