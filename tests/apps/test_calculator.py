"""The calculator's sums."""

import math

import pytest

from hyperlab.apps.calculator import CalculatorState


@pytest.fixture
def state():
    return CalculatorState()


def crossing(state):
    """Where the figure marks it."""
    (mark,) = (trace for trace in state.drawn().data if trace.name == "crossing")
    return list(mark.x), list(mark.y)


def test_at_the_crossing_both_have_cost_the_same(state):
    offline, own, rival = state.costs()
    at = state.crossing()
    assert offline + at * own == pytest.approx(at * rival)
    assert crossing(state) == ([at], [pytest.approx(at * rival)])


def test_against_what_it_imitates_it_pays_off_after_as_many_tasks_as_were_recorded(state):
    state.rival, state.look = "bias-tuning", "100, class means pushed"
    assert state.crossing() == pytest.approx(state.recorded, rel=0.01)


def test_nothing_offline_pays_off_at_once_and_has_no_crossing_to_draw(state):
    state.recorded = 0
    assert state.crossing() == 0 and crossing(state) == ([], [])
    assert "Jacobian flow costs less" in state.read_out()


def test_a_single_step_of_tuning_may_never_be_beaten(state):
    state.steps, state.look = 1, "all, class means recomputed"
    state.backbone, state.rival, state.size = "vit_micro", "bias-tuning", 32
    assert state.crossing() == math.inf
    assert "never" in state.read_out() and "bias-tuning costs less" in state.read_out()


def test_more_images_cost_fine_tuning_more_and_a_bounded_look_nothing(state):
    state.n_images, state.look = 100, "100, class means pushed"
    _, own, rival = state.costs()
    state.n_images = 400
    _, later, more = state.costs()
    assert later == own and more == 4 * rival
