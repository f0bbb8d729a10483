"""Tails of norm layers: what moves, that all else stays, and that the rows are a zoo like any."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hyperlab.base import ConfigError, stream
from hyperlab.models import backbones
from hyperlab.weights import encoders, flow, novelty, recipes, tails, zoo
from hyperlab.weights.baselines import BASELINES
from hyperlab.weights.encoders import EncoderConfig
from hyperlab.weights.flow import FlowConfig
from hyperlab.weights.recipes import RECIPES
from hyperlab.weights.tails import NormConfig

SMOKE = NormConfig.at("smoke")
TAIL = SMOKE.tail


@pytest.fixture(scope="module")
def splits():
    return recipes.load(RECIPES["digits"]).first(SMOKE.n_train, SMOKE.n_eval)


@pytest.fixture(scope="module")
def tail(splits):
    return tails.train_tail(SMOKE, "digits", splits)


def state_of(host):
    return {name: x.clone() for name, x in host.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_host_learns_digits(tail, splits):
    host = tail.architecture
    assert not host.model.training
    assert zoo.accuracies(host, host.w0[None], *splits.test) > 0.7


def test_checkpoints_are_those_of_torchs_own_loop_over_four_tensors(tail, splits):
    host = tail.architecture
    empty = {"size": host.size, "generator": stream(9, "x")}
    model = backbones.build_norm_network(host.name, host.n_classes, **empty).model
    model.load_state_dict(host.model.state_dict())
    moving = [model.get_parameter(name).requires_grad_() for name in host.subset.names]
    optimiser = torch.optim.AdamW(moving, TAIL.lr, weight_decay=tails.DECAY)
    images, labels = splits.train
    rows = tails.batches(len(labels), SMOKE.batch, stream(0, host.name, "tail"))
    for k in range(3):
        some = next(rows)
        optimiser.zero_grad()
        F.cross_entropy(model(host.see(images[some])), labels[some]).backward()
        optimiser.step()
        found, wanted = tail.w[0, k], host.flatten(model.state_dict())
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_every_second_checkpoint_is_what_two_steps_give(tail, splits):
    two = replace(SMOKE, tail=replace(TAIL, n=4, every=2))
    found = tails.record_tail(tail.architecture, two, splits)
    torch.testing.assert_close(found, tail.w[0, 1:8:2])


def test_all_but_the_rows_stays_running_statistics_too(tail, splits):
    before = state_of(tail.architecture)
    w = tails.record_tail(tail.architecture, SMOKE, splits)
    assert same(before, state_of(tail.architecture))
    assert ((w - tail.architecture.w0).norm(dim=1) > 0).all()


def test_a_host_and_its_tail_depend_on_the_seed_alone(splits):
    few = splits.first(60, 20)
    short = replace(SMOKE, epochs=1, tail=replace(TAIL, n=2))
    a, b, c = (
        tails.train_tail(replace(short, seed=seed), "digits", few) for seed in (0, 0, 1)
    )
    assert torch.equal(a.w, b.w) and not torch.equal(a.w, c.w)
    assert same(state_of(a.architecture), state_of(b.architecture))


def test_the_global_random_stream_stays_where_it_was(splits):
    before = torch.random.get_rng_state()
    short = replace(SMOKE, epochs=1, tail=replace(TAIL, n=1))
    tails.train_tail(short, "digits", splits.first(20, 10))
    assert torch.equal(before, torch.random.get_rng_state())


def test_scores_are_those_of_each_checkpoint(tail, splits):
    host = tail.architecture
    with torch.no_grad():
        for k in (0, 19):
            said = host.logits(tail.w[0, k : k + 1], splits.test.images)[0].argmax(1)
            right = (said == splits.test.labels).float().mean()
            assert tail.accuracy[0, k] == pytest.approx(float(right))
            val = host.logits(tail.w[0, k : k + 1], splits.val.images)[0]
            loss = F.cross_entropy(val, splits.val.labels)
            torch.testing.assert_close(tail.loss[0, k], loss, rtol=1e-4, atol=1e-5)


def test_an_epoch_shows_every_image_once_and_leaves_out_what_fills_no_batch():
    rows = tails.batches(10, 3, stream(0, "b"))
    first, second = (torch.cat([next(rows) for _ in range(3)]) for _ in range(2))
    assert len(first.unique()) == len(second.unique()) == 9
    assert first.tolist() != second.tolist()
    assert sorted(next(tails.batches(2, 5, stream(0, "b"))).tolist()) == [0, 1]


def test_checkpoints_are_judged_encoded_and_generated_like_networks_of_a_zoo(tail, splits):
    host, w = tail.architecture, tail.w[0]
    val, test = tuple(splits.val), tuple(splits.test)
    originals = novelty.Originals(host, w[::2], w[1::2], val, test)
    own = novelty.judge_originals(originals)
    assert own.accuracy == pytest.approx(float(tail.accuracy[0, ::2].mean()))
    assert novelty.judge(w[::2], originals).max_iou == 1
    means = BASELINES["average of 2"](w[::2], 5, stream(0, "mean"))
    assert novelty.judge(means, originals).accuracy > own.accuracy - 0.1
    assert encoders.ceiling(host, encoders.Encoder(w), w, test).drop == 0
    behave = encoders.behaviour(
        host, splits.train.images, queries=8, generator=stream(0, "q")
    )
    config = EncoderConfig(latent=4, width=16, steps=5, batch=4)
    vae = encoders.fit_vae(w, config, behave=behave, generator=stream(0, "vae"))
    quick = FlowConfig(width=16, depth=1, steps=5, batch=8)
    made = flow.fit_flow(vae.encode(w), quick, generator=stream(0, "flow"))
    z = made.sample(3, generator=stream(0, "start"), steps=2)
    assert novelty.judge(vae.decode(z), originals).n == 3


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": 0}, {"size": 0}])
def test_a_configuration_without_work_is_refused(wrong):
    with pytest.raises(ConfigError, match="must be >= 1"):
        replace(SMOKE, **wrong)
    with pytest.raises(ConfigError, match="must be >= 1"):
        replace(SMOKE, tail=replace(TAIL, every=0))
