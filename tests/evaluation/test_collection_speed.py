import bench_collection
import pytest
import torch

from hyperlab.base import ConfigError
from hyperlab.hyperflow.teacher import TeacherConfig
from tests.tiny import support, tiny_target

CONFIG = TeacherConfig(steps=2, optimiser="adam")
SUPPORTS = [support(seed=i) for i in range(3)]


def test_all_ways_record_the_same_losses():
    rows = bench_collection.compare(tiny_target(), SUPPORTS, CONFIG, sizes=(2,), repeats=1)
    *others, own = rows
    assert others == ["loop", "loop, short last block", "groups of 2"]
    assert own == f"{torch.get_num_threads()} workers of one thread, passes of 128 images"
    assert all(row["difference"] < 1e-3 for row in rows.values())
    assert rows["loop"]["ratio"] == 1


def test_the_loop_leaves_the_target_as_it_was():
    target = tiny_target()
    before = target.theta0.clone()
    thetas, losses = bench_collection.one_by_one(target, SUPPORTS, CONFIG)
    assert torch.equal(target.theta0, before)
    assert (thetas.shape, losses.shape) == ((3, 3, len(before)), (3, 3))
    assert torch.equal(thetas[:, 0], before.expand(3, -1))


@pytest.mark.parametrize("repeats", [0, -1])
def test_it_wants_a_repeat(repeats):
    with pytest.raises(ConfigError, match="at least one repeat"):
        bench_collection.compare(tiny_target(), SUPPORTS, CONFIG, repeats=repeats)
