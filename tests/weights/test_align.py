"""Relabelled networks are the same function; alignment finds the labels again."""

from dataclasses import replace
from itertools import product

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


def unchanged(net, n=1):
    sizes = [layer.n_out for layer in net.layers[:-1]]
    orders = [torch.arange(k).repeat(n, 1) for k in sizes]
    return align.Relabelling(orders, [torch.ones(n, k) for k in sizes])


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
    new = unchanged(SMALL, len(w))
    new.signs[layer][:, 0] = -1
    other = align.relabel(SMALL, w, new)
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


@each
def test_biases_alone_tell_channels_apart(net):
    state = net.unflatten(some(net, 1))
    row = net.flatten({k: v * k.endswith("bias") for k, v in state.items()})
    hidden = align.relabel(net, row, align.random_relabelling(net, 1, stream(4)))
    found = align.align(net, hidden, row[0], generator=stream(5))
    assert torch.equal(found, row) and not torch.equal(hidden, row)


@each
def test_what_is_matched_cannot_be_matched_better(net):
    w = some(net, 4)
    found = align.align(net, w[1:], w[0], generator=stream(5))
    again = align.match(net, found, w[0], generator=stream(6))
    assert all(torch.equal(order, order.sort(1).values) for order in again.orders)
    assert all((sign == 1).all() for sign in again.signs)


def neighbours(net):
    """All relabellings that swap two channels, or change the sign of one that may."""
    for i, (layer, may) in enumerate(zip(net.layers[:-1], align.flips(net), strict=True)):
        for a, b in product(range(layer.n_out), repeat=2):
            new = unchanged(net)
            new.orders[i][0, [a, b]] = new.orders[i][0, [b, a]]
            new.signs[i][0, a] = -1 if may and a == b else 1
            yield new


@each
def test_no_swap_and_no_sign_brings_an_aligned_network_nearer(net):
    w = some(net, 3)
    for row in align.align(net, w[1:], w[0], generator=stream(5)).split(1):
        best = (row - w[0]).norm()
        moved = torch.cat([align.relabel(net, row, new) for new in neighbours(net)])
        assert ((moved - w[0]).norm(dim=1) > best * (1 - 1e-6)).all()


def test_channels_on_which_the_reference_is_silent_are_not_erased():
    w, x = some(SMALL), images(SMALL)
    state = SMALL.unflatten(w[0])
    for name in ("fc1.weight", "fc1.bias"):
        state[name][:5] = 0
    state["fc2.weight"][:, :5] = 0
    for reference in (SMALL.flatten(state), torch.zeros(SMALL.n_params)):
        found = align.align(SMALL, w, reference, generator=stream(5))
        torch.testing.assert_close(
            SMALL.logits(found, x), SMALL.logits(w, x), atol=1e-5, rtol=1e-4
        )


@each
def test_canonical_signs_do_not_depend_on_the_signs_before(net):
    w, x = some(net), images(net)
    once = align.canonical_signs(net, w)
    new = align.random_relabelling(net, len(w), stream(2))
    signed = align.Relabelling(unchanged(net, len(w)).orders, new.signs)
    for other in (align.relabel(net, w, signed), once):
        torch.testing.assert_close(align.canonical_signs(net, other), once)
    assert (net.unflatten(once)["fc1.bias"] > 0).all()
    torch.testing.assert_close(net.logits(once, x), net.logits(w, x), atol=1e-5, rtol=1e-4)


def test_without_biases_the_weights_decide_and_without_tanh_there_are_no_signs():
    state = SMALL.unflatten(some(SMALL))
    silent = {k: v * 0 if k.endswith("bias") else v for k, v in state.items()}
    found = SMALL.unflatten(align.canonical_signs(SMALL, SMALL.flatten(silent)))
    assert (found["conv3.weight"].flatten(2).sum(2) > 0).all()
    assert (found["fc1.weight"].sum(2) > 0).all()
    gelu = cnn.cnn_small(activation="gelu")
    assert torch.equal(align.canonical_signs(gelu, some(gelu)), some(gelu))


@pytest.mark.usefixtures("unchecked_shapes")
def test_networks_that_cannot_be_aligned_are_refused():
    w, net = some(SMALL), SMALL
    short = w[:, :-1]
    for a, b in ((short, w[0]), (w, short[0])):
        with pytest.raises(ConfigError, match=r"has 2464 weights, got rows of 2463"):
            align.align(net, a, b, generator=stream(5))
    for a, b in ((short, w), (w, short)):
        with pytest.raises(ConfigError, match=r"has 2464 weights, got rows of 2463"):
            align.line(net, a, b, (images(net), torch.zeros(8, dtype=torch.int64)))
    for a, b in ((w * torch.nan, w[0]), (w, w[0] / 0)):
        with pytest.raises(ConfigError, match="finite"):
            align.align(net, a, b, generator=stream(5))


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
    with pytest.raises(ConfigError, match="points between"):
        align.line(net, w[:1], w[:1], (x, y), points=2)
