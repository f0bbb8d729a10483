"""The calculator's state does the sums; its view shows them."""

import math

import pytest
import traitlets

from hyperlab.study.budget import BACKBONES
from hyperlab.views.apps import calculator


@pytest.fixture
def state():
    return calculator.CalculatorState()


def test_at_the_crossing_both_have_cost_the_same(state):
    offline, own, rival = state.costs()
    at = state.crossing()
    assert offline + at * own == pytest.approx(at * rival)
    (x,), (y,) = state.curves()["crossing"]
    assert x.item() == at and y.item() == pytest.approx(at * rival)


def test_against_what_it_imitates_it_pays_off_after_as_many_tasks_as_were_recorded(state):
    state.rival, state.look = "bias-tuning", "100, class means pushed"
    assert state.crossing() == pytest.approx(state.recorded, rel=0.01)


def test_nothing_offline_pays_off_at_once_and_has_no_crossing_to_draw(state):
    state.recorded = 0
    assert state.crossing() == 0
    assert len(state.curves()["crossing"][0]) == 0
    assert "HyperFlow costs less" in state.read_out()


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


def test_only_listed_choices_are_taken(state):
    with pytest.raises(traitlets.TraitError):
        state.backbone = "ResNet"


def test_every_control_moves_the_plot_and_the_words(state):
    box = calculator.calculator(state)
    rows, (view, words) = box.rows, box.views
    controls = {c.description: c for row in rows for c in row.children}
    drawn = {trace.name: trace for trace in view.data}
    changes = {
        "backbone": "ViT-B/16", "pixels": 128, "support": 100, "instead of": "bias-tuning",
        "looks at": "100, class means pushed", "recorded": 704, "gradient steps": 20,
        "your tasks": 10,
    }  # fmt: skip
    assert set(changes) == set(controls) and "ViT-B/16" in BACKBONES
    for name, value in changes.items():
        before = words.value
        controls[name].value = value
        assert words.value != before and words.value == state.read_out()
    assert drawn["your tasks"].x[0] == 10
    assert drawn["crossing"].x[0] == pytest.approx(state.crossing())
