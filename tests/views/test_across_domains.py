"""The app of notebook 08: what it draws is what the methods gain on the same tasks."""

import pytest
import torch

from hyperlab.base import ConfigError
from hyperlab.hyperflow import adapt
from hyperlab.study import experiments
from hyperlab.tasks.episodes import Episode
from hyperlab.views.apps import across_domains
from hyperlab.views.apps.across_domains import AcrossDomains
from tests.tiny import support, tiny_target

TARGET = tiny_target()


def task(seed):
    return Episode(support(seed=seed), support(seed=seed + 50), "made up", tuple("abc"))


TASKS = {"one": [task(i) for i in range(3)], "two": [task(i + 10) for i in range(3)]}
METHODS = {
    "none": lambda _: adapt.NoAdaptation(),
    "tuning": lambda n: adapt.bias_tuning(steps=n, lr=2.0),
}


@pytest.fixture
def state():
    return AcrossDomains(TARGET, TASKS, METHODS)


def test_a_measurement_is_the_paired_gain_with_its_interval(state):
    state.method, state.steps, state.domain = "tuning", 3, "two"
    found = state.measure()
    method = METHODS["tuning"](3)
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
    figure = across_domains.figure_of(state)
    for steps in (4, 2):
        state.steps = steps
        state.measure()
    state.domain = "two"
    state.measure()
    across_domains.draw(figure, state)
    assert [list(trace.x) for trace in figure.data] == [[2, 4], [2]]
    assert [trace.name for trace in figure.data] == ["none on one", "none on two"]
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
    assert state.read_out().startswith("none, 2 steps, on two: +0.0 ± 0.0 points")
    state.clear()
    across_domains.draw(figure, state)
    assert not any(trace.x for trace in figure.data)
    assert "Nothing measured yet" in state.read_out()


def test_the_widget_measures_when_the_button_is_pressed(state):
    box = across_domains.across_domains(state)
    measure = box.rows[1].children[1]
    assert measure.description == "Measure"
    measure.click()
    assert len(state.measured) == 1 and not measure.disabled
    assert "none, 10 steps, on one" in box.views[-1].value
    box.rows[1].children[2].click()
    assert not state.measured


@pytest.mark.parametrize("tasks", [{}, {"one": TASKS["one"][:1]}])
def test_one_task_has_no_interval_and_is_refused(tasks):
    with pytest.raises(ConfigError, match="two tasks of each domain"):
        AcrossDomains(TARGET, tasks, METHODS)


def test_two_tasks_have_a_mean_and_no_interval():
    state = AcrossDomains(TARGET, {"one": TASKS["one"][:2]}, METHODS)
    assert "+0.0 ± – points" in state.measure().words()
    across_domains.figure_of(state)
