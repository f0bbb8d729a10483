"""Gradients through the solver, against the whole path with a detached state in it."""

import copy
from dataclasses import replace

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models.cnn import cnn_small
from hyperlab.weights import encoders, flow, generate, graph, recipes, zoo
from hyperlab.weights.flow import FlowConfig
from hyperlab.weights.generate import Maker, ThroughConfig
from hyperlab.weights.recipes import Images

NET = cnn_small()
W = torch.stack([recipes.untrained(NET, "kaiming_uniform", stream(i)) for i in range(8)])
DATA = Images(torch.randn(40, 1, 28, 28, generator=stream(1)), torch.arange(40) % 10)
SMOKE = ThroughConfig(steps=10, networks=2, batch=16, updates=3)
SMALL = encoders.EncoderConfig(latent=5, width=16, steps=3, batch=4)


def maker(encoder=None):
    encoder = encoder or encoders.PCA(W, 5)
    quick = FlowConfig(width=16, depth=1, steps=5, batch=8)
    return Maker(flow.fit_flow(encoder.encode(W), quick, generator=stream(2)), encoder, NET)


def trainable(encoder=None):
    made = maker(encoder)
    made.flow.field.requires_grad_()
    return made


def loss_of(w):
    return generate.cross_entropies(NET, w, DATA).mean()


def by_hand(made, x, data, config):
    """Every step with a graph; the state at t' is detached."""
    for k in range(config.steps):
        if k == config.knot:
            x = x.detach()
        x = x + made.flow.given()(torch.tensor(k / config.steps), x) / config.steps
    w = made.encoder.decode(made.flow.from_unit(x))
    logits = made.architecture.logits(w, data.images)
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), data.labels.repeat(len(w))
    )
    return loss, torch.autograd.grad(loss, list(made.flow.field.parameters()))


@pytest.mark.parametrize("detach", [0.0, 0.4, 0.8])
def test_the_gradient_is_that_of_a_whole_path_detached_at_t(detach):
    made, config = trainable(), replace(SMOKE, detach=detach)
    x0 = made.start(3, stream(3))
    loss, found = generate.gradient(made, x0, DATA, config)
    wanted_loss, wanted = by_hand(made, x0, DATA, config)
    torch.testing.assert_close(loss, wanted_loss)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert max(float(g.abs().max()) for g in found) > 1e-4


@pytest.mark.parametrize("method", ["heun", "rk4"])
def test_without_a_stop_the_gradient_is_that_of_the_finite_difference(method):
    made = trainable()
    made.flow.double(), made.encoder.double()
    data = Images(DATA.images.double(), DATA.labels)
    config = replace(SMOKE, detach=0.0, method=method)
    x0, eps = made.start(2, stream(3)), 1e-6
    _, found = generate.gradient(made, x0, data, config)
    bias = made.flow.field.out.bias
    place = [p is bias for p in made.flow.field.parameters()].index(True)
    losses = []
    with torch.no_grad():
        for change in (eps, -2 * eps):
            bias[1] += change
            w = made.networks(x0, config)
            losses.append(generate.cross_entropies(NET, w, data).mean())
    slope = (losses[0] - losses[1]) / (2 * eps)
    assert float(found[place][1]) == pytest.approx(float(slope), rel=1e-4)


def test_a_stop_at_the_end_leaves_no_gradient():
    made = trainable()
    _, found = generate.gradient(
        made, made.start(2, stream(3)), DATA, replace(SMOKE, detach=1.0)
    )
    assert not any(float(g.abs().max()) for g in found)
    tuned = generate.finetune_through(
        made, DATA, replace(SMOKE, detach=1.0), generator=stream(4)
    )
    for a, b in zip(tuned.flow.parameters(), made.flow.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("detach", [0.0, 0.4, 1.0])
def test_where_the_gradient_stops_changes_no_network(detach):
    made = maker()
    ends = made.networks(made.start(4, stream(3)), replace(SMOKE, detach=detach))
    how = {"steps": SMOKE.steps, "method": SMOKE.method}
    wanted = made.encoder.decode(made.flow.sample(4, generator=stream(3), **how))
    torch.testing.assert_close(ends, wanted)


@pytest.mark.parametrize(("detach", "knot"), [(0.0, 0), (0.4, 4), (0.44, 4), (0.47, 5)])
def test_the_stop_lies_on_the_nearest_knot(detach, knot):
    assert replace(SMOKE, detach=detach).knot == knot


def kinds():
    shapes = graph.GraphConfig(shapes=NET.shapes, width=8, edge=4, heads=2, depth=1)
    yield encoders.PCA(W, 5)
    yield encoders.fit_vae(W, SMALL, generator=stream(5))
    yield graph.fit_graph_vae(W, replace(SMALL, steps=1), shapes, generator=stream(5))


@pytest.mark.parametrize("encoder", list(kinds()), ids=["PCA", "VAE", "graph"])
def test_only_a_copy_of_the_flow_is_changed(encoder):
    made = maker(encoder)
    encoder.requires_grad_().zero_grad()  # even then
    before = copy.deepcopy((made.flow.state_dict(), encoder.state_dict()))
    tuned = generate.finetune_through(
        made, DATA, replace(SMOKE, lr=1e-2), generator=stream(6)
    )
    for old, module in zip(before, (made.flow, encoder), strict=True):
        assert all(torch.equal(old[k], v) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in encoder.parameters())
    assert tuned.encoder is encoder
    assert not torch.equal(tuned.flow.field.out.bias, made.flow.field.out.bias)


def test_the_same_seed_gives_the_same_bits():
    made, config = maker(), replace(SMOKE, anchor=0.5)
    codes = made.encoder.encode(W)
    first, again, other = (
        generate.finetune_through(made, DATA, config, generator=stream(s), codes=codes)
        for s in (0, 0, 1)
    )
    pairs = zip(*(m.flow.parameters() for m in (first, again, other)), strict=True)
    same, like_other = zip(*((a.equal(b), a.equal(c)) for a, b, c in pairs), strict=True)
    assert all(same) and not all(like_other)


def test_fine_tuning_lowers_the_loss_of_fresh_samples():
    made, config = maker(), replace(SMOKE, networks=4, updates=40, lr=1e-2)
    tuned = generate.finetune_through(made, DATA, config, generator=stream(7))
    x0 = made.start(8, stream(8))
    before, after = (loss_of(m.networks(x0, config)) for m in (made, tuned))
    assert after < before - 0.03


def test_an_anchor_keeps_the_early_path_at_the_source():
    made = maker()
    codes = made.encoder.encode(W)
    config = replace(SMOKE, updates=15, lr=1e-2, detach=0.5)
    off = []
    for anchor in (0.0, 10.0):
        c = replace(config, anchor=anchor)
        tuned = generate.finetune_through(made, DATA, c, generator=stream(9), codes=codes)
        many = codes.repeat(40, 1)
        off.append(float(generate.source_loss(tuned, many, config, stream(10))))
    assert off[1] < off[0]


def test_plain_descent_is_the_zoos_training():
    config, g = replace(SMOKE, updates=4, lr=1e-2), stream(11)
    *_, found = generate.descend(lambda w: w, W[:3], NET, DATA, config, generator=g)
    w, g = W[:3].clone().requires_grad_(), stream(11)
    optimiser = torch.optim.Adam([w], config.lr)
    for _ in range(4):
        rows = torch.randint(40, (16,), generator=g)
        zoo.step(NET, w, optimiser, DATA.images[rows], DATA.labels[rows])
    torch.testing.assert_close(found, w.detach(), rtol=1e-4, atol=1e-5)


def test_starts_and_codes_can_be_moved_alone():
    made, config = maker(), replace(SMOKE, updates=30, lr=3e-2, detach=0.0)
    x0 = made.start(2, stream(12))
    ways = {
        "starts": (lambda x: made.networks(x, config), x0),
        "codes": (made.encoder.decode, made.encoder.encode(W[:2])),
    }
    for make, points in ways.values():
        *_, found = generate.descend(make, points, NET, DATA, config, generator=stream(13))
        assert loss_of(make(found)) < loss_of(make(points))


def test_what_does_not_fit_is_refused():
    made = maker()
    with pytest.raises(ConfigError, match="5 numbers|numbers"):
        Maker(made.flow, encoders.PCA(W, 4), NET)
    labels = Images(DATA.images, DATA.labels + 1)
    with pytest.raises(ConfigError, match="labels 0 to 9"):
        generate.finetune_through(made, labels, SMOKE, generator=stream(0))
    with pytest.raises(ConfigError, match="codes"):
        generate.finetune_through(
            made, DATA, replace(SMOKE, anchor=1.0), generator=stream(0)
        )
    for wrong in ({"detach": 1.5}, {"steps": 0}, {"lr": 0.0}, {"method": "eular"}):
        with pytest.raises(ConfigError):
            ThroughConfig(**wrong)


def test_a_graph_encoder_of_another_architecture_is_refused():
    made, encoder = maker(), encoders.PCA(W, 5)
    swapped = {**NET.shapes, "fc1.weight": NET.shapes["fc1.weight"][::-1]}
    encoder.graph = type("Other", (), {"shapes": swapped})
    with pytest.raises(ConfigError, match="the encoder reads graphs of"):
        Maker(made.flow, encoder, NET)
    encoder.graph = graph.GraphConfig(shapes=NET.shapes)
    assert Maker(made.flow, encoder, NET).architecture is NET
