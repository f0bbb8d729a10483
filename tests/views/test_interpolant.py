"""The state behind the interpolant explorer, and the wires to its controls."""

import pytest
import torch

from hyperlab.base import ConfigError
from hyperlab.views.apps import interpolant

TIMES = torch.linspace(0, 1, 25, dtype=torch.float64)
RATES = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)


@pytest.fixture
def state():
    flow = torch.exp(-TIMES[:, None] * RATES)
    return interpolant.InterpolantState(flow, -RATES * flow, pieces=6)


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


def test_moments_stay_within_the_record_and_pieces_must_divide_it(state):
    state.moment = 99
    assert state.moment == 24
    with pytest.raises(ConfigError, match="7 pieces; possible are"):
        state.pieces = 7


@pytest.mark.usefixtures("unchecked_shapes")
def test_every_state_needs_its_velocity(state):
    with pytest.raises(ConfigError, match="one velocity per state"):
        interpolant.InterpolantState(state.truth, state.truth[:3], pieces=6)


def test_every_control_moves_the_plot_and_the_words(state):
    box = interpolant.interpolant_explorer(state)
    (kind, pieces, follow), (moment, slider) = (row.children for row in box.rows)
    view, words = box.views
    drawn = {trace.name: trace for trace in view.data}
    assert len(drawn["knots"].x) == 7
    pieces.value = 3
    assert len(drawn["knots"].x) == 4
    follow.value = 8
    assert len(drawn["Euler"].x) == 9
    slider.value = 5
    assert moment.value == 5 and drawn["now"].x[0] == pytest.approx(5 / 24)
    before = words.value
    kind.value = "piecewise"
    assert words.value != before and words.value == state.read_out()
    named = (kind, pieces, follow, moment, slider)
    assert all(control.description for control in named)
