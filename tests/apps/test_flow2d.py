"""The state behind the first app, and the wires to its controls."""

import json
import math
from dataclasses import replace

import pytest
import torch

from hyperlab import solvers
from hyperlab.apps.app import App
from tests.apps.states import gradient_flow
from tests.apps.watched import run_before_a_page

CURVATURES = torch.tensor([1.0, 8.0], dtype=torch.float64)


@pytest.fixture
def state():
    return gradient_flow()


def test_the_path_is_gradient_descent(state):
    theta = torch.tensor([1.0, 1.0], dtype=torch.float64)
    for _ in range(20):
        theta = theta - 0.1 * CURVATURES * theta
    assert state.steps == 20
    torch.testing.assert_close(state.path()[-1], theta)


def test_the_flow_is_the_exact_one(state):
    exact = torch.exp(-2.0 * CURVATURES)
    torch.testing.assert_close(state.truth[-1], exact, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("method", solvers.STEPS)
def test_halving_the_step_doubles_the_steps_and_comes_closer(state, method):
    state.method = method
    before, away = state.steps, (state.path()[-1] - state.truth[-1]).norm()
    state.step_size /= 2
    assert state.steps == 2 * before
    assert state.gradients == 2 * before * solvers.NFE[method]
    assert (state.path()[-1] - state.truth[-1]).norm() < away


def test_steps_are_taken_one_by_one_and_begin_again_after_the_end(state):
    state.steps = 0
    assert len(state.path()) == 1 and state.time == 0
    state.step()
    assert len(state.path()) == 2 and state.time == pytest.approx(0.1)
    state.to_the_end()
    state.step()
    assert state.steps == 1


def test_a_step_beyond_two_over_the_curvature_leaves_the_picture_in_words_too(state):
    state.step_size = 0.3
    assert state.path()[-1].norm() > 1
    state.landscape.losses(state.path())
    assert "apart" in state.read_out()
    steep = gradient_flow(loss=lambda theta: 1e4 * theta.square().sum())
    assert "left the picture" in steep.read_out()


def test_step_sizes_stay_between_the_whole_flow_and_its_512th_part(state):
    state.step_size = 50.0
    assert (state.step_size, state.steps) == (2.0, 1)
    state.step_size = 0.0
    assert (state.step_size, state.steps) == (2.0 / 512, 512)


def test_the_read_out_tells_the_loss_and_the_distance(state):
    words = state.read_out()
    assert words.startswith("euler, step size 0.1: 20 steps, 20 gradients, t = 2.")
    loss = state.landscape.losses(state.path()[-1:]).item()
    assert f"Loss {loss:.4f}, of the flow" in words


def test_every_button_moves_the_plot(state):
    box = App(state)
    drawn = lambda: [len(trace.x) for trace in box.figure.data if trace.name == "steps"]
    assert drawn() == [21, 21]
    box.buttons["double"].click()
    assert drawn() == [11, 11] and box.controls["step_size"].value == pytest.approx(0.2)
    box.buttons["reset"].click()
    assert drawn() == [1, 1]
    box.buttons["step"].click()
    assert drawn() == [2, 2] and "1 steps" in box.words.value
    box.buttons["halve"].click()
    box.buttons["to_the_end"].click()
    assert drawn() == [21, 21] and state.step_size == pytest.approx(0.1)


def test_paths_are_kept_for_comparison_three_at_most(state):
    box = App(state)
    kept = lambda: [t.name for t in box.figure.data if t.visible and t.showlegend]
    for method in ("euler", "heun", "rk4", "chebyshev"):
        state.method = method
        box.buttons["keep"].click()
    labels = [f"{m}, step 0.1" for m in ("chebyshev", "rk4", "heun")]
    assert [one.label for one in state.kept] == labels
    assert [name for name in kept() if name in labels] == labels
    plane, curve = [t for t in box.figure.data if t.name == labels[1]]
    assert plane.x.shape == curve.x.shape == (21,)
    assert curve.y == pytest.approx(state.landscape.losses(state.kept[1].path).numpy())
    box.buttons["forget"].click()
    assert state.kept == () and not set(kept()) & set(labels)


def test_a_path_that_leaves_the_picture_is_painted_without_what_is_no_number(state):
    state.landscape = replace(state.landscape, t_end=1e7)
    state.step_size, state.steps, state.pace = 1e6, 0, 15
    app = App(state)
    painted = json.loads(json.dumps(run_before_a_page(app), allow_nan=False))
    assert [len(xs) for (_, xs, _), _ in painted] == list(range(2, 12))
    for number, *places in painted[-1]:
        trace = app.figure.data[number]
        assert trace.name == "steps"
        for drawn, known in zip(places, (trace.x, trace.y), strict=True):
            assert [x if math.isfinite(x) else None for x in known] == drawn
