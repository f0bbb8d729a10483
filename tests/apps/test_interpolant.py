"""The state behind the interpolant explorer, and the wires to its controls."""

import pytest
import torch

from hyperlab.apps import interpolant
from hyperlab.base import ConfigError
from tests.apps.states import interpolated


@pytest.fixture
def state():
    return interpolated()


def test_every_path_agrees_with_the_flow_at_its_knots(state):
    assert state.choices == (1, 2, 3, 4, 6, 8, 12)
    for kind, at in {"linear": [0, -1], "piecewise": slice(None, None, 4)}.items():
        state.kind = kind
        assert state.errors()[at].max() < 1e-12
    state.kind = "cubic"
    assert state.errors()[::4].max() < 1e-12 < state.errors().max()


def test_more_knots_and_better_paths_come_closer(state):
    coarse = state.errors().max()
    state.pieces = 12
    fine = state.errors().max()
    state.kind = "piecewise"
    piecewise = state.errors().max()
    state.kind = "linear"
    assert fine < coarse and fine < piecewise < state.errors().max()


def test_the_velocity_is_the_flows_where_the_path_is_good(state):
    state.pieces = 12
    torch.testing.assert_close(
        state.velocity(), state.velocities[state.moment], rtol=0.02, atol=0.02
    )


def test_euler_ends_the_linear_path_exactly_and_the_cubic_one_only_nearly(state):
    state.follow = 4
    assert (state.followed()[-1] - state.truth[-1]).norm() > 1e-2
    assert "4 Euler steps end" in state.read_out()
    state.kind = "linear"
    torch.testing.assert_close(state.followed()[-1], state.truth[-1])


def test_the_slider_goes_along_and_pieces_must_divide_the_record(state):
    state.time = 5
    drawn = {trace.name: trace for trace in state.drawn().data}
    assert state.moment == 5 and drawn["now"].x[0] == pytest.approx(5 / 24)
    with pytest.raises(ConfigError, match="no pieces 7; have"):
        state.pieces = 7


@pytest.mark.usefixtures("unchecked_shapes")
def test_every_state_needs_its_velocity(state):
    with pytest.raises(ConfigError, match="one velocity per state"):
        interpolant.InterpolantState(state.truth, state.truth[:3], pieces=6)
