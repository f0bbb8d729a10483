"""The app of notebook 03: its runs are the methods' own, and stay side by side."""

import math
from dataclasses import replace

import pytest
import torch

from hyperlab.apps import subset_explorer
from hyperlab.apps.app import App
from hyperlab.apps.subset_explorer import MOST, SubsetExplorer
from hyperlab.base import ConfigError
from tests.apps.states import MOVERS, TARGET, explorer, task

TASKS = {"sand": task(0), "snow": task(1)}


@pytest.fixture
def state():
    return explorer()


def traces(figure):
    """What a figure shows: name, x, accuracies, losses of every run, in the legend's order."""
    half = len(figure.data) // 2
    pairs = zip(figure.data[:half], figure.data[half:], strict=True)
    shown = [(a, b) for a, b in pairs if a.showlegend]
    shown.sort(key=lambda pair: pair[0].legendrank)
    return [(a.name, list(a.x), list(a.y), list(b.y)) for a, b in shown]


@pytest.mark.parametrize("method", MOVERS, ids=lambda m: m.name)
def test_a_run_ends_where_the_method_ends(state, method):
    state.task, state.subset = "snow", method.name
    run = state.fine_tune()
    same = replace(method, config=replace(method.config, steps=5))
    view = same.view(TARGET)
    theta = same(view, TASKS["snow"].support)
    assert run.knots == (0, 1, 2, 3, 4, 5) and run.n_params == view.subset.n_params
    assert run.accuracy[-1] == view.accuracy(theta, TASKS["snow"])
    assert run.loss[-1] == pytest.approx(view.support_loss(theta, TASKS["snow"].support))
    assert run.moved == pytest.approx(float((theta - view.theta0).norm()))
    before = TARGET.accuracy(TARGET.theta0, TASKS["snow"])
    assert run.accuracy[0] == pytest.approx(before)
    assert run.gain == pytest.approx(100 * (run.accuracy[-1] - before))


def test_keys_may_move_and_nothing_follows(state):
    run = state.fine_tune()
    assert run.subset == "keys" and run.moved > 0 and run.gain == 0
    assert max(run.loss) - min(run.loss) < 1e-4
    state.subset = "biases"
    moved = state.fine_tune()
    assert max(moved.loss) - min(moved.loss) > 1e-2


def test_a_subset_brings_its_learning_rate_and_another_may_follow(state):
    assert list(state.controls) == ["task", "subset", "lr", "steps"]
    state.subset = "everything"
    assert state.lr == 0.002 and 0.002 in state.lrs
    state.lr = 0.01
    assert state.fine_tune().lr == 0.01
    with pytest.raises(ConfigError, match="no learning rate 0.5; have"):
        state.lr = 0.5
    with pytest.raises(ConfigError, match="no what moves 'heads'; have"):
        state.subset = "heads"
    assert (state.lr, state.subset) == (0.01, "everything")


def test_runs_stay_side_by_side_and_none_is_done_or_shown_twice(state, monkeypatch):
    first = state.fine_tune()
    state.subset = "biases"
    second = state.fine_tune()
    assert [run.number for run in state.runs] == [1, 2]
    monkeypatch.delattr(subset_explorer, "fine_tune")
    assert state.fine_tune() is second and len(state.runs) == 2
    state.clear()
    assert not state.runs and "Nothing has moved yet" in state.read_out()
    assert state.fine_tune() == replace(second, number=1)
    state.subset = "keys"
    assert state.fine_tune() == replace(first, number=2)


def test_the_oldest_run_makes_room_and_the_others_keep_their_colours(state):
    settings = [(s, lr) for s in ("keys", "biases") for lr in state.lrs]
    looks = {}
    for state.subset, state.lr in settings[: MOST + 2]:
        state.fine_tune()
        figure = state.drawn()
        for trace in (t for t in figure.data if t.showlegend):
            look = (trace.line.color, trace.line.dash, trace.marker.symbol)
            assert looks.setdefault(trace.name, look) == look
    assert [run.number for run in state.runs] == list(range(3, MOST + 3))
    assert [run.name for run in state.runs] == [name for name, *_ in traces(figure)]
    shown = [looks[run.name] for run in state.runs]
    assert len(set(shown)) == MOST


def test_what_is_drawn_and_said_are_the_runs(state):
    assert not traces(state.drawn())
    for state.subset in ("biases", "keys"):
        state.fine_tune()
    figure = state.drawn()
    wanted = [(r.name, list(r.knots), list(r.accuracy), list(r.loss)) for r in state.runs]
    assert traces(figure) == wanted
    assert state.read_out().startswith("Run 2, keys on sand: 64 numbers may move; 5 steps")
    best = max(state.runs, key=lambda run: run.gain)
    assert f"run {best.number}, {best.subset} on sand, {best.gain:+.1f}" in state.read_out()


def test_parameters_that_explode_are_said_and_are_never_the_best(state, monkeypatch):
    state.fine_tune()

    def explode(target, *args):
        for step in range(6):
            yield target.theta0[None] + (torch.inf if step > 3 else 0.0), torch.zeros(1)

    monkeypatch.setattr(subset_explorer, "fine_tune", explode)
    state.subset = "biases"
    run = state.fine_tune()
    assert math.isnan(run.accuracy[-1]) and not math.isnan(run.accuracy[3])
    assert "no longer finite" in run.words()
    assert "Most gained of the 2 shown: run 1" in state.read_out()


def test_a_task_and_a_method_are_wanted():
    with pytest.raises(ConfigError, match="want a task and a method"):
        SubsetExplorer(TARGET, {}, MOVERS)
    with pytest.raises(ConfigError, match="want a task and a method"):
        SubsetExplorer(TARGET, TASKS, [])


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_buttons_run_and_clear_and_a_failure_is_said(state, monkeypatch):
    box = App(state)
    box.controls["subset"].value, box.controls["steps"].value = "biases", 10
    assert (state.subset, state.steps, state.lr) == ("biases", 10, 0.03)
    assert box.controls["lr"].value == 0.03
    box.buttons["fine_tune"].click()
    assert len(state.runs) == 1 and state.runs[0].knots == (0, 2, 4, 6, 8, 10)
    assert traces(box.figure)[0][2] == list(state.runs[0].accuracy)
    assert box.words.value.startswith('<div role="status"><div>Run 1, biases on sand')
    broken = lambda: state.target.features(torch.zeros(3), torch.zeros(1, 3, 8, 8))
    monkeypatch.setattr(state, "_run", broken)
    state.steps = 20
    box.buttons["fine_tune"].click()
    assert "Not done. ConfigError: theta has 3 numbers" in box.trouble.value
    assert not box.buttons["fine_tune"].disabled
    box.buttons["clear"].click()
    assert not traces(box.figure) and "Nothing has moved" in box.words.value
