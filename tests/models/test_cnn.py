"""The zoos' networks: their published sizes, and many at once equal to one at a time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn

BOTH = [cnn.cnn_small(), cnn.cnn_medium(activation="relu")]
each = pytest.mark.parametrize("net", BOTH, ids=lambda net: net.name)


def some(net, models=3, n=4):
    w = 0.3 * torch.randn(models, net.n_params, generator=stream(0, net.name))
    shape = (n, net.channels, net.size, net.size)
    return w, torch.rand(shape, generator=stream(1, net.name))


def alone(net, row, images):
    """The same network written with torch's own layers."""
    state, parts = net.unflatten(row), []
    for layer in net.layers:
        maker = nn.Conv2d if layer.kernel else nn.Linear
        args = (layer.n_in, layer.n_out, *([layer.kernel] if layer.kernel else []))
        module = maker(*args)
        module.load_state_dict(
            {part: state[f"{layer.name}.{part}"] for part in ("weight", "bias")}
        )
        flat = [nn.Flatten()] if not layer.kernel else []
        act = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}[net.activation]()
        parts += [*flat, module, *([nn.MaxPool2d(2)] if layer.pool else []), act]
    return nn.Sequential(*parts[:-1])(images)


@pytest.mark.parametrize(
    ("make", "options", "n"),
    [
        (cnn.cnn_small, {}, 2464),
        (cnn.cnn_small, {"channels": 3}, 2864),
        (cnn.cnn_medium, {}, 10853),
        (cnn.cnn_medium, {"channels": 1}, 10565),
        (cnn.cnn_medium, {"n_classes": 100}, 12743),
    ],
)
def test_the_sizes_are_the_published_ones(make, options, n):
    assert make(**options).n_params == n


@each
def test_many_networks_at_once_say_what_each_says_alone(net):
    w, images = some(net)
    with torch.no_grad():
        together = net.logits(w, images)
        for row, said in zip(w, together, strict=True):
            torch.testing.assert_close(said, alone(net, row, images), atol=1e-5, rtol=1e-4)


@each
def test_a_network_learns_from_its_own_loss_alone(net):
    w, images = some(net)
    labels = torch.arange(len(images))
    w.requires_grad_()
    said = net.logits(w, images)
    total = sum(F.cross_entropy(one, labels) for one in said)
    (together,) = torch.autograd.grad(total, w)
    first = w[:1].detach().requires_grad_()
    loss = F.cross_entropy(net.logits(first, images)[0], labels)
    (own,) = torch.autograd.grad(loss, first)
    torch.testing.assert_close(together[:1], own, atol=1e-5, rtol=1e-3)


@each
def test_flatten_undoes_unflatten(net):
    w, _ = some(net)
    assert torch.equal(net.flatten(net.unflatten(w)), w)
    assert torch.equal(net.flatten(net.unflatten(w[0])), w[0])


def test_what_does_not_fit_is_named():
    net = cnn.cnn_small()
    with pytest.raises(ConfigError, match="has 2464 weights, got rows of 2463"):
        net.unflatten(torch.zeros(2463))
    with pytest.raises(ConfigError, match=r"takes \(1, 28, 28\), got \(3, 28, 28\)"):
        net.logits(torch.zeros(1, 2464), torch.zeros(2, 3, 28, 28))
    with pytest.raises(ConfigError, match="unknown option 'sine'.*tanh"):
        cnn.cnn_small(activation="sine")
