import math

import pytest
import torch
from torch import nn

from hyperlab.base import stream
from hyperlab.nn import (
    MLP,
    Attention,
    ConditionedBlock,
    Descent,
    TimeEmbedding,
    cosine_warmup,
    ema_update,
    fit,
)


def randn(*shape, name="x"):
    return torch.randn(*shape, generator=stream(0, name))


def test_an_mlp_ends_with_a_linear_layer():
    layers = list(MLP(3, 5, 2, dropout=0.1))
    assert isinstance(layers[-1], nn.Linear)
    assert layers[-1].out_features == 2


def test_times_a_hundredth_apart_are_told_apart():
    embedding = TimeEmbedding(32)
    phases = torch.tensor([0.50, 0.51])[:, None] * embedding.omega
    waves = torch.cat([phases.cos(), phases.sin()], 1)
    assert (waves[0] - waves[1]).norm() > 0.5
    assert embedding(torch.tensor([0.5, 0.51])).shape == (2, 32)


def test_absent_memory_cannot_be_seen():
    layer = Attention(8, 2)
    x, memory = randn(3, 4, 8), randn(3, 5, 8, name="memory")
    present = torch.tensor([True, True, True, False, False]).expand(3, 5)
    other = memory.clone()
    other[:, 3:] = 100.0
    torch.testing.assert_close(layer(x, memory, present), layer(x, other, present))
    torch.testing.assert_close(layer(x, memory, present), layer(x, memory[:, :3]))


def test_attention_is_that_of_torch():
    ours, theirs = Attention(8, 2), nn.MultiheadAttention(8, 2, batch_first=True)
    state = {
        f"in_proj_{part}": torch.cat([getattr(ours.q, part), getattr(ours.kv, part)])
        for part in ("weight", "bias")
    }
    state |= {"out_proj.weight": ours.out.weight, "out_proj.bias": ours.out.bias}
    theirs.load_state_dict(state)
    x, memory = randn(3, 4, 8), randn(3, 5, 8, name="memory")
    torch.testing.assert_close(ours(x, memory), theirs(x, memory, memory)[0])


def test_a_new_conditioned_block_changes_nothing_and_learns_from_its_first_step():
    block = ConditionedBlock(8, 2, dropout=0.0)
    x, memory, present = randn(3, 4, 8), randn(3, 5, 8, name="memory"), torch.ones(3, 5) > 0
    y = block(x, memory, present, randn(3, 8, name="condition"))
    assert torch.equal(y, x)
    y.square().mean().backward()
    assert block.modulation.weight.grad.abs().sum() > 0


def test_an_average_moves_by_one_minus_decay():
    average, model = nn.Linear(2, 1), nn.Linear(2, 1)
    expected = torch.lerp(average.weight.data, model.weight.data, 0.1)
    ema_update(average, model, decay=0.9)
    torch.testing.assert_close(average.weight.data, expected)


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.5), (110, 0.0)]
)
def test_the_learning_rate_rises_then_falls_by_half_a_cosine(step, factor):
    found = cosine_warmup(step, warmup=10, total=110)
    assert math.isclose(found, factor, abs_tol=1e-9)


def trained(ema, **options):
    """A linear map that is fitted to y = x, half of whose outputs are dropped in training."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), randn(50, 2)
    descent = Descent(steps=40, lr=0.1, warmup=4, weight_decay=0.0, ema=ema)
    loss = lambda: (net(x) - x).square().mean()
    return net, x, *fit(net, loss, descent, desc="line", **options)


def test_a_fit_tells_the_loss_of_every_step_and_falls():
    net, _, found, history = trained(0.0)
    assert found is net and not net.training and not history.validation
    assert (
        history.loss.shape == (40,) and history.loss[-9:].mean() < history.loss[:9].mean()
    )


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_fit_is_validated_every_tenth_as_it_would_be_returned(ema):
    modes = []

    def validate(net):
        modes.append(net.training)
        return float(net(randn(50, 2)).square().mean().detach())

    net, x, found, history = trained(ema, validate=validate)
    assert list(history.validation) == list(range(4, 41, 4)) and not any(modes)
    assert history.validation[40] == float(found(x).square().mean())
    assert (found is net) == (ema == 0) and torch.equal(history.loss, trained(ema)[3].loss)
