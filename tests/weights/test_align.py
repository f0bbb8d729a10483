"""Relabelled networks are the same function; alignment finds the labels again."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.weights import align, recipes
from hyperlab.weights.zoo import ZooConfig, train

SMALL = cnn.cnn_small()
MEDIUM = cnn.cnn_medium(activation="tanh")
each = pytest.mark.parametrize("net", [SMALL, MEDIUM], ids=lambda net: net.name)


def some(net, n=3, seed=0):
    rows = [recipes.untrained(net, "kaiming_uniform", stream(seed, i)) for i in range(n)]
    noise = 0.1 * torch.randn(n, net.n_params, generator=stream(seed, "noise"))
    return torch.stack(rows) + noise  # biases differ, too


def images(net, n=8):
    shape = (n, net.channels, net.size, net.size)
    return torch.randn(shape, generator=stream(1, net.name))


@pytest.fixture(scope="module")
def trained():
    """Six networks of different seeds on digits, and the test images."""
    config = replace(ZooConfig.at("smoke"), n_networks=6, epochs=(12,))
    splits = recipes.load(config.recipe).first(1_000, 200)
    found = train(config, splits, range(6))
    return config.recipe.network(), found["w"][:, 0], splits.test


@each
def test_a_relabelled_network_computes_the_same_function(net):
    w, x = some(net), images(net)
    new = align.random_relabelling(net, len(w), stream(2))
    other = align.relabel(net, w, new)
    assert (other - w).norm() > w.norm() / 2
    torch.testing.assert_close(net.logits(other, x), net.logits(w, x), atol=1e-5, rtol=1e-4)


def test_signs_may_change_where_nothing_is_pooled_and_the_activation_is_odd():
    assert align.flips(SMALL) == (False, False, True, True)
    assert align.flips(MEDIUM) == (False, False, False, True)
    assert not any(align.flips(cnn.cnn_small(activation="gelu")))


@pytest.mark.parametrize(("layer", "same"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_sign_of_a_pooled_channel_matters(layer, same):
    w, x = some(SMALL), images(SMALL)
    new = align.random_relabelling(SMALL, len(w), stream(3))
    keep = [torch.arange(o.shape[1]).expand_as(o) for o in new.orders]
    signs = [torch.ones_like(s) for s in new.signs]
    signs[layer][:, 0] = -1
    other = align.relabel(SMALL, w, align.Relabelling(keep, signs))
    gap = (SMALL.logits(other, x) - SMALL.logits(w, x)).abs().max()
    assert (gap < 1e-5) == same


@each
def test_a_planted_relabelling_is_found(net):
    w = some(net)
    for row in w:
        new = align.random_relabelling(net, 4, stream(4))
        hidden = align.relabel(net, row.expand(4, -1), new)
        found = align.align(net, hidden, row, generator=stream(5))
        torch.testing.assert_close(found, row.expand(4, -1))


def test_alignment_keeps_the_function_and_comes_nearer(trained):
    net, w, (x, _) = trained
    found = align.align(net, w[1:], w[0], generator=stream(6))
    torch.testing.assert_close(
        net.logits(found, x), net.logits(w[1:], x), atol=1e-4, rtol=1e-3
    )
    assert ((found - w[0]).norm(dim=1) < (w[1:] - w[0]).norm(dim=1)).all()


def test_a_zoo_comes_closer_together_and_to_the_reference_it_returns(trained):
    net, w, _ = trained
    found, reference = align.align_zoo(net, w, generator=stream(7))
    assert found.var(0).sum() < 0.9 * w.var(0).sum()
    again = align.align(net, w, reference, generator=stream(8))
    assert (again - reference).norm(dim=1).mean() < (w - reference).norm(dim=1).mean()
    with pytest.raises(ConfigError, match="rounds >= 0"):
        align.align_zoo(net, w, rounds=-1, generator=stream(7))


def test_a_network_and_its_relabelled_copy_have_a_barrier_that_alignment_removes(trained):
    net, w, data = trained
    new = align.random_relabelling(net, len(w), stream(9))
    copy = align.relabel(net, w, new)
    before = align.line(net, w, copy, data).barrier
    found = align.align(net, copy[:1], w[0], generator=stream(9))
    after = align.line(net, w[:1], found, data)
    assert (before > 0.3).all() and abs(float(after.barrier[0])) < 1e-4


def test_the_line_ends_at_its_networks(trained):
    net, w, (x, y) = trained
    found = align.line(net, w[:2], w[2:4], (x, y), points=3)
    said = net.logits(torch.cat([w[:1], (w[:1] + w[2:3]) / 2, w[2:3]]), x)
    losses = torch.stack([F.cross_entropy(one, y) for one in said])
    torch.testing.assert_close(found.loss[0], losses, atol=1e-4, rtol=1e-4)
    assert (align.line(net, w[:1], w[:1], (x, y)).barrier < 1e-5).all()
