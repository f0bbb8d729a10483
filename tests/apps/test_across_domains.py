"""The app of notebook 08: what it draws is what the methods gain on the same tasks."""

import pytest
import torch

from hyperlab.apps.app import App
from hyperlab.base import ConfigError
from hyperlab.evaluation import experiments
from tests.apps.states import METHODS, TARGET, TASKS, across


@pytest.fixture
def state():
    return across()


def test_a_measurement_is_the_paired_gain_with_its_interval(state):
    state.method, state.steps, state.domain = "tuning", 3, "two"
    found, method = state.measure(), METHODS["tuning"](3)
    gains = torch.tensor(
        [
            TARGET.accuracy(method(TARGET, t.support), t)
            - TARGET.accuracy(TARGET.theta0, t)
            for t in TASKS["two"]
        ]
    )
    assert found.gain == pytest.approx(100 * float(gains.mean()), abs=1e-4)
    half = experiments.interval(experiments.pd.Series(100 * gains.numpy()))
    assert found.pm == pytest.approx(half, abs=1e-4)


def test_no_adaptation_gains_nothing_and_nothing_is_measured_twice(state):
    first = state.measure()
    assert (first.gain, first.pm) == (0, 0)
    assert state.measure() is first and len(state.measured) == 1


def test_what_was_measured_is_drawn_and_said_and_cleared(state):
    box = App(state)
    shown = lambda: {t.name: t for t in box.figure.data if t.showlegend}
    for state.steps in (4, 2):
        box.buttons["measure"].click()
    state.domain = "two"
    box.buttons["measure"].click()
    drawn = shown()
    assert {name: list(t.x) for name, t in drawn.items()} == {
        "none on one": [2, 4],
        "none on two": [2],
    }
    one, two = drawn.values()
    assert one.marker.symbol != two.marker.symbol and list(one.error_y.array) == [0, 0]
    assert "none, 2 steps, on two: +0.0 ± 0.0 points" in box.words.value
    assert not box.buttons["measure"].disabled
    box.buttons["clear"].click()
    assert not shown() and "Nothing measured yet" in box.words.value


@pytest.mark.parametrize("tasks", [{}, {"one": TASKS["one"][:1]}])
def test_one_task_has_no_interval_and_is_refused(tasks):
    with pytest.raises(ConfigError, match="two tasks of each domain"):
        across(tasks)


def test_two_tasks_have_a_mean_and_no_interval():
    state = across({"one": TASKS["one"][:2]})
    assert "+0.0 ± – points" in state.measure().words()
    state.drawn()
