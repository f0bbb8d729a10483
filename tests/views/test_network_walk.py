"""The state behind the walk between two networks, and the wires to its controls."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.views.apps import network_walk
from hyperlab.weights import align, recipes

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


def test_the_kernels_stand_side_by_side(state):
    picture = state.filters()
    assert picture.shape == (2 * 6, 4 * 6)
    kernel = NET.unflatten(state.networks[0])["conv1.weight"][5, 0]
    assert torch.equal(picture[6:11, 6:11], kernel)
    assert not picture[5].any()


def test_what_is_not_there_is_named(state):
    with pytest.raises(ConfigError, match="networks 0 to 2, got 3"):
        state.second = 3
    with pytest.raises(ConfigError, match="two or more"):
        network_walk.WalkState(NET, state.networks[:1], state.data)


@pytest.mark.usefixtures("unchecked_shapes")
def test_every_control_moves_the_plot_and_the_words(state):
    box = network_walk.network_walk(state)
    top, place, view, words = box.children
    drawn = {trace.name: trace for trace in view.data}
    controls = {c.description: c for c in (*top.children, place)}
    for name, value in {"to": 2, "place": 0.5, "way": "aligned", "from": 1}.items():
        before = words.value
        controls[name].value = value
        assert words.value != before and words.value == state.read_out()
    assert drawn["here"].x[0] == 0.5
    assert drawn["here"].y[0] == pytest.approx(state.accuracy())
