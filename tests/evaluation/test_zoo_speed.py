"""A zoo's networks side by side and one by one: the same weights, each way with its speed."""

from dataclasses import replace

import bench_zoo
import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.weights import zoo
from hyperlab.weights.recipes import Images, Splits
from hyperlab.weights.zoo import ZooConfig

FEW = {"n_networks": 3, "group": 2, "batch": 5}  # the last group is smaller


def few(scale="paper", name="mnist"):
    return replace(ZooConfig.at(scale, name), **FEW)


def compare(config, **how):
    given = {"steps": 4, "repeats": 1, "generator": stream(0, "test"), **how}
    return bench_zoo.compare({"zoo": config}, **given)["zoo"]


@pytest.mark.parametrize("scale", ["paper", "laptop"])
@pytest.mark.parametrize("name", ["mnist", "cifar10_medium"])
def test_every_way_trains_the_same_networks(scale, name):
    row = compare(few(scale, name))
    assert row["difference_float64"] < 1e-10
    assert row["difference_float32"] < 1e-3 and row["within_1e-5_float32"] > 0
    assert row["loop_ratio"] == row["hyperlab_per_s"] / row["loop_per_s"] > 0


def test_a_difference_between_the_ways_is_seen(monkeypatch):
    right = bench_zoo.together
    monkeypatch.setattr(bench_zoo, "together", lambda *given: right(*given) + 1e-3)
    row = compare(few())
    assert row["difference_float64"] == pytest.approx(1e-3)
    assert row["within_1e-5_float32"] == 0


def test_the_groups_train_as_a_zoo_does(monkeypatch):
    config = replace(few(), n_networks=2, epochs=(1,))
    w = bench_zoo.start(config)
    images, labels = map(
        torch.cat, zip(*bench_zoo.noise(config, 3, stream(0)), strict=True)
    )
    part = Images(images, labels)
    splits = Splits(part, part, part, 10, "noise")
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    found = zoo.train(config, splits, config.seeds(0))["w"][:, 0]
    batches = list(zip(images.split(5), labels.split(5), strict=True))
    assert torch.equal(bench_zoo.together(config, w, batches), found)


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"steps": 0}])
def test_it_wants_a_round_and_a_step(wrong):
    with pytest.raises(ConfigError, match="want a round and a step"):
        compare(few(), **wrong)
