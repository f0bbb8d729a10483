"""The state behind the walk between two networks, and the wires to its controls."""

import pytest
import torch

from hyperlab.apps import network_walk
from hyperlab.base import ConfigError, stream
from hyperlab.weights import encoders, zoo
from tests.apps.states import NET, walk, walk_by_code


@pytest.fixture
def state():
    return walk()


def test_the_ends_of_the_walk_are_the_networks(state):
    assert torch.equal(state.network()[0], state.networks[0])
    state.alpha = 1.0
    torch.testing.assert_close(state.network()[0], state.networks[1])
    assert state.accuracy() == pytest.approx(
        float(state.lines()["aligned"].accuracy[0, -1])
    )


def test_alignment_takes_the_way_between_two_labellings_away(state):
    state.alpha = 0.5
    assert (state.network()[0] - state.networks[0]).norm() > 1
    state.way = "aligned"
    torch.testing.assert_close(state.network()[0], state.networks[0])
    assert "0.0 apart, barrier 0.00 nats" in state.read_out()


def test_the_kernels_are_those_of_the_network_here(state):
    state.alpha = 1.0
    kernel = NET.unflatten(state.networks[1])["conv1.weight"][5, 0]
    torch.testing.assert_close(state.filters()[6:11, 6:11], kernel)


def test_through_a_code_that_loses_nothing_the_way_is_the_straight_one(state):
    there = walk_by_code()
    straight, code = (there.lines()[way] for way in ("as they are", "through the code"))
    torch.testing.assert_close(code.loss, straight.loss, atol=1e-4, rtol=1e-3)
    there.way, there.alpha = "through the code", 0.3
    wanted = torch.lerp(*state.networks[:2], 0.3)
    torch.testing.assert_close(there.network()[0], wanted, atol=1e-4, rtol=1e-4)


def test_through_the_code_the_blend_of_two_codes_is_decoded(state):
    config = encoders.EncoderConfig(latent=4, width=16, steps=1)
    encoder = encoders.fit_vae(state.networks, config, generator=stream(5))
    there = network_walk.WalkState(NET, state.networks, state.data, encoder)
    there.second, there.way, there.alpha = 2, "through the code", 0.25
    z = encoder.encode(state.networks)
    wanted = encoder.decode((0.75 * z[0] + 0.25 * z[2])[None])
    torch.testing.assert_close(there.network(), wanted)
    assert "0 to 2, through the code (4 numbers for 2,464 weights;" in there.read_out()
    ends = zoo.accuracies(NET, encoder.decode(z[[0, 2]]), *state.data)
    assert torch.equal(there.lines()["through the code"].accuracy[0, [0, -1]], ends)


def test_the_figure_has_a_line_for_every_way(state):
    assert state.ways == ("as they are", "aligned")
    with pytest.raises(ConfigError, match="no way 'through the code'"):
        state.way = "through the code"
    there = walk_by_code()
    drawn = {trace.name: trace for trace in there.drawn().data}
    assert list(drawn) == [*network_walk.WAYS, "here", "kernels"]
    for name, line in there.lines().items():
        assert drawn[name].y.tolist() == line.accuracy[0].tolist()
    assert drawn["kernels"].z.tolist() == there.filters().tolist()


def test_what_is_not_there_is_named(state):
    with pytest.raises(ConfigError, match="two or more"):
        network_walk.WalkState(NET, state.networks[:1], state.data)
    other = encoders.PCA(state.networks[:, :99], 2)
    with pytest.raises(ConfigError, match="for networks of 99 weights, got 2464"):
        network_walk.WalkState(NET, state.networks, state.data, other)
