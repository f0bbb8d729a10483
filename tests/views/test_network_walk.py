"""The state behind the walk between two networks, and the wires to its controls."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.views.apps import network_walk
from hyperlab.weights import align, encoders, recipes, zoo

NET = cnn.cnn_small()


@pytest.fixture
def state():
    """Network 1 is network 0 in other labels; network 2 is another one."""
    rows = [recipes.untrained(NET, "kaiming_uniform", stream(i)) for i in (0, 2)]
    new = align.random_relabelling(NET, 1, stream(3))
    w = torch.stack([rows[0], align.relabel(NET, rows[0][None], new)[0], rows[1]])
    images = torch.randn(20, 1, 28, 28, generator=stream(4))
    return network_walk.WalkState(NET, w, (images, torch.arange(20) % 10))


def test_the_ends_of_the_walk_are_the_networks(state):
    assert torch.equal(state.here()[0], state.networks[0])
    state.alpha = 1.0
    torch.testing.assert_close(state.here()[0], state.networks[1])
    assert state.accuracy() == pytest.approx(
        float(state.lines()["aligned"].accuracy[0, -1])
    )


def test_alignment_takes_the_way_between_two_labellings_away(state):
    state.alpha = 0.5
    assert (state.here()[0] - state.networks[0]).norm() > 1
    state.way = "aligned"
    torch.testing.assert_close(state.here()[0], state.networks[0])
    assert "0.0 apart, barrier 0.00 nats" in state.read_out()


def through_codes(state):
    """The same walk with a code of two numbers: PCA of three networks loses nothing."""
    encoder = encoders.PCA(state.networks, 2)
    return network_walk.WalkState(NET, state.networks, state.data, encoder)


def test_the_kernels_are_those_of_the_network_here(state):
    state.alpha = 1.0
    kernel = NET.unflatten(state.networks[1])["conv1.weight"][5, 0]
    torch.testing.assert_close(state.filters()[6:11, 6:11], kernel)


def test_through_a_code_that_loses_nothing_the_way_is_the_straight_one(state):
    walk = through_codes(state)
    straight, code = (walk.lines()[way] for way in ("as they are", "through the code"))
    torch.testing.assert_close(code.loss, straight.loss, atol=1e-4, rtol=1e-3)
    walk.way, walk.alpha = "through the code", 0.3
    wanted = torch.lerp(*state.networks[:2], 0.3)
    torch.testing.assert_close(walk.here()[0], wanted, atol=1e-4, rtol=1e-4)


def test_through_the_code_the_blend_of_two_codes_is_decoded(state):
    config = encoders.EncoderConfig(latent=4, width=16, steps=1)
    encoder = encoders.fit_vae(state.networks, config, generator=stream(5))
    walk = network_walk.WalkState(NET, state.networks, state.data, encoder)
    walk.second, walk.way, walk.alpha = 2, "through the code", 0.25
    z = encoder.encode(state.networks)
    wanted = encoder.decode((0.75 * z[0] + 0.25 * z[2])[None])
    torch.testing.assert_close(walk.here(), wanted)
    assert "0 to 2, through the code (4 numbers for 2,464 weights;" in walk.read_out()
    ends = zoo.accuracies(NET, encoder.decode(z[[0, 2]]), *state.data)
    assert torch.equal(walk.lines()["through the code"].accuracy[0, [0, -1]], ends)


def test_the_figure_has_a_line_for_every_way(state):
    assert state.ways == ("as they are", "aligned")
    with pytest.raises(ConfigError, match="unknown option 'through the code'"):
        state.way = "through the code"
    walk = through_codes(state)
    drawn = {trace.name: trace for trace in network_walk.figure_of(walk).data}
    assert list(drawn) == [*network_walk.WAYS, "here", "kernels"]
    for name, line in walk.lines().items():
        assert drawn[name].y.tolist() == line.accuracy[0].tolist()
    assert drawn["kernels"].z.tolist() == walk.filters().tolist()


def test_what_is_not_there_is_named(state):
    with pytest.raises(ConfigError, match="networks 0 to 2, got 3"):
        state.second = 3
    with pytest.raises(ConfigError, match="two or more"):
        network_walk.WalkState(NET, state.networks[:1], state.data)
    other = encoders.PCA(state.networks[:, :99], 2)
    with pytest.raises(ConfigError, match="for networks of 99 weights, got 2464"):
        network_walk.WalkState(NET, state.networks, state.data, other)


@pytest.mark.usefixtures("unchecked_shapes")
def test_every_control_moves_the_plot_and_the_words(state):
    state = through_codes(state)
    box = network_walk.network_walk(state)
    (top, place), (view, words) = box.rows, box.views
    drawn = {trace.name: trace for trace in view.data}
    controls = {c.description: c for c in (*top.children, *place.children)}
    moves = [("to", 2), ("place", 0.5), ("way", "aligned"), ("from", 1)]
    for name, value in [*moves, ("way", "through the code")]:
        before = words.value
        controls[name].value = value
        assert words.value != before and words.value == state.read_out()
    assert drawn["here"].x[0] == 0.5
    assert drawn["here"].y[0] == pytest.approx(state.accuracy())
    for name, line in state.lines().items():
        assert drawn[name].y.tolist() == line.accuracy[0].tolist()
    assert drawn["kernels"].z.tolist() == state.filters().tolist()
