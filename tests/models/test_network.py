"""A module as a row of numbers: one idea, and the zoos' networks as its fast path."""

import pytest
import torch
from torch import nn

from hyperlab import params
from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn, own
from hyperlab.models.network import FlatNetwork
from hyperlab.params import ParamSubset
from tests.tiny import modules, tiny_target


@pytest.mark.parametrize("fast", [cnn.cnn_small(), cnn.cnn_medium()], ids=lambda n: n.name)
def test_the_zoos_networks_are_flat_networks_written_out(fast):
    make = lambda: modules(fast)[0]
    plain = own.network(make, channels=fast.channels, size=fast.size)
    assert [*plain.shapes.values()] == [*fast.shapes.values()]
    w = 0.2 * torch.randn(3, fast.n_params, generator=stream(0, "rows")).double()
    size = (4, fast.channels, fast.size, fast.size)
    x = torch.randn(size, generator=stream(0, "x")).double()
    grads = []
    for network in (fast, plain):
        rows = w.clone().requires_grad_()
        logits = network.logits(rows, x)
        grads.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), rows)))
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted)


def test_frozen_parameters_are_no_part_of_a_row():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    found = FlatNetwork("two layers", model, 2)
    assert found.n_params == 6 and torch.equal(found.w0[:4], model[1].weight.flatten())
    with pytest.raises(ConfigError, match="theta has 5 numbers; this subset has 6"):
        found.logits(torch.zeros(2, 5), torch.zeros(1, 3, 1, 1))


@pytest.mark.parametrize("match", [params.qkv_biases, params.qv_biases, params.everything])
def test_many_rows_go_to_named_tensors_and_back(match):
    subset = ParamSubset.select(tiny_target().model, match)
    rows = torch.randn(2, 3, subset.n_params, generator=stream(0, "rows"))
    assert torch.equal(subset.flatten(subset.unflatten(rows)), rows)
    assert torch.equal(subset.flatten(subset.unflatten(rows[0, 0])), rows[0, 0])
