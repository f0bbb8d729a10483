"""The graph encoder does not see the order of hidden channels, and still tells networks apart."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.nn import lent
from hyperlab.weights import align, graph, recipes
from hyperlab.weights.encoders import EncoderConfig
from hyperlab.weights.graph import GraphConfig

SMALL, MEDIUM = cnn.cnn_small(activation="gelu"), cnn.cnn_medium()
CODE = EncoderConfig(latent=8, width=64, steps=120, batch=6, noise_latent=0.05, beta=1e-5)
TINY = {"width": 16, "edge": 8, "heads": 2, "depth": 2}
each = pytest.mark.parametrize("net", [SMALL, MEDIUM], ids=lambda net: net.name)


def some(net, n=6):
    g, parts = stream(0, net.name), []
    for layer in net.layers:
        fan_in = layer.n_params // layer.n_out - 1
        u = torch.rand(n * layer.n_out, fan_in, generator=g)
        weights = recipes.kaiming_uniform(u, fan_in).view(n, -1)
        u = torch.rand(n, layer.n_out, generator=g)
        parts += [weights, (2 * u - 1) / fan_in**0.5]
    return torch.cat(parts, 1)


def encoder(net, w, **sizes):
    with lent(stream(1)):
        vae = graph.GraphVAE(w, CODE, GraphConfig(shapes=net.shapes, **(TINY | sizes)))
    return vae.requires_grad_(requires_grad=False)


@each
def test_a_relabelled_network_has_the_same_code(net):
    w = some(net)
    vae = encoder(net, w)
    other = align.relabel(net, w, align.random_relabelling(net, len(w), stream(2)))
    assert (other - w).norm() > w.norm() / 2
    torch.testing.assert_close(vae.encode(other), vae.encode(w), atol=1e-5, rtol=1e-4)


@each
def test_channels_by_pixels_would_not_do(net):
    """The published code flattens pixel by pixel; in such rows relabelled networks differ."""
    w = some(net)
    name, channels = "fc1.weight", net.layers[2].n_out

    def by_pixels(rows):
        state = net.unflatten(rows)
        cells = state[name].unflatten(2, (channels, -1)).transpose(2, 3)
        return net.flatten(state | {name: cells.flatten(2)})

    vae = encoder(net, by_pixels(w))
    other = align.relabel(net, w, align.random_relabelling(net, len(w), stream(2)))
    apart = (vae.encode(by_pixels(other)) - vae.encode(by_pixels(w))).norm()
    assert apart > 1e-3 * vae.encode(by_pixels(w)).std(0).norm()


@each
def test_other_networks_have_other_codes(net):
    z = encoder(net, some(net)).encode(some(net))
    assert torch.pdist(z).min() > 100 * torch.finfo().eps


def test_swapped_outputs_are_another_network():
    w = some(SMALL)
    state = SMALL.unflatten(w)
    flipped = {k: v.flip(1) for k, v in state.items() if k.startswith("fc2")}
    vae = encoder(SMALL, w)
    assert not torch.allclose(vae.encode(SMALL.flatten(state | flipped)), vae.encode(w))


def test_it_learns_some_networks_by_heart():
    w = some(SMALL)
    config = GraphConfig(shapes=SMALL.shapes, **TINY)
    lost = []
    for steps in (1, CODE.steps):
        vae = graph.fit_graph_vae(
            w, replace(CODE, steps=steps, lr=3e-3), config, generator=stream(3)
        )
        lost.append(float((vae.decode(vae.encode(w)) - w).norm() / (w - w.mean(0)).norm()))
    assert lost[0] > 0.9 and lost[1] < 0.3
    shuffled = align.relabel(SMALL, w, align.random_relabelling(SMALL, len(w), stream(4)))
    torch.testing.assert_close(
        vae.decode(vae.encode(shuffled)), vae.decode(vae.encode(w)), atol=1e-4, rtol=1e-3
    )


def test_norms_belong_to_the_channels_before_them():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 5)
    )
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    edges, features = graph.layers_of(shapes)
    assert [(e.n_in, e.n_out, e.pixels) for e in edges] == [(3, 4, 9), (4, 5, 9)]
    assert features == [["0.bias", "1.weight", "1.bias"], ["4.bias"]]
    order = torch.tensor([2, 0, 3, 1])
    w = torch.randn(5, sum(p.numel() for p in model.parameters()), generator=stream(5))
    parts = w.split([p.numel() for p in model.parameters()], 1)
    moved = [p.unflatten(1, (4, -1))[:, order].flatten(1) for p in parts[:4]]
    moved += [parts[4].unflatten(1, (5, 4, -1))[:, :, order].flatten(1), parts[5]]
    with lent(stream(6)):
        vae = graph.GraphVAE(w, CODE, GraphConfig(shapes=shapes, **TINY))
    torch.testing.assert_close(
        vae.encode(torch.cat(moved, 1)), vae.encode(w), atol=1e-5, rtol=1e-4
    )


def test_what_is_no_graph_is_named():
    with pytest.raises(ConfigError, match=r"b of shape \(3, 5\) reads no 4 channels"):
        GraphConfig(shapes={"a": (4, 2), "b": (3, 5)})
    with pytest.raises(ConfigError, match="multiple of heads"):
        GraphConfig(shapes=SMALL.shapes, width=10, heads=4)
    with pytest.raises(ConfigError, match="want chunk=0, got 100"):
        graph.GraphVAE(
            some(SMALL), replace(CODE, chunk=100), GraphConfig(shapes=SMALL.shapes)
        )
