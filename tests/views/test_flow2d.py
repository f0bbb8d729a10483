"""The state behind the first app, and the wires to its controls."""

import asyncio
import json
import math
from dataclasses import replace

import pytest
import torch

from hyperlab import solvers
from hyperlab.views.apps import flow2d
from hyperlab.views.apps.jobs import turns
from tests.views.page import run_before_a_page

CURVATURES = torch.tensor([1.0, 8.0], dtype=torch.float64)


@pytest.fixture
def state():
    valley = flow2d.Landscape(
        loss=lambda theta: (CURVATURES * theta**2).sum() / 2,
        start=torch.tensor([1.0, 1.0], dtype=torch.float64),
        t_end=2.0,
        box=(-1.5, 1.5, -1.5, 1.5),
    )
    return flow2d.GradientFlow(valley, step_size=0.1)


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
    state.advance()
    assert len(state.path()) == 2 and state.time == pytest.approx(0.1)
    state.to_the_end()
    state.advance()
    assert state.steps == 1


def test_a_step_beyond_two_over_the_curvature_leaves_the_picture_in_words_too(state):
    state.step_size = 0.3
    assert state.path()[-1].norm() > 1
    state.landscape.losses(state.path())
    assert "apart" in state.read_out()
    steep = flow2d.Landscape(
        loss=lambda theta: 1e4 * theta.square().sum(),
        start=torch.ones(2, dtype=torch.float64),
        t_end=1.0,
        box=(-1.0, 1.0, -1.0, 1.0),
    )
    assert "left the picture" in flow2d.GradientFlow(steep, step_size=0.1).read_out()


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


def test_every_button_has_words_and_moves_the_plot(state):
    box = flow2d.gradient_flow(state)
    (size, solver), (view, words) = box.rows[0].children, box.views
    some = [*box.rows[1].children, *box.rows[2].children[:-1]]
    buttons = {button.description: button for button in some}
    drawn = lambda: [len(trace.x) for trace in view.data if trace.name == "steps"]
    assert drawn() == [21, 21]
    buttons["Double the step"].click()
    assert drawn() == [11, 11] and size.value == pytest.approx(0.2)
    buttons["Reset"].click()
    assert drawn() == [1, 1]
    buttons["Step"].click()
    assert drawn() == [2, 2] and "1 steps" in words.value
    solver.value = "heun"
    assert state.method == "heun" and drawn() == [11, 11]
    size.value = 0.05
    assert drawn() == [41, 41] and words.value == state.read_out()
    assert all(button.description and button.tooltip for button in buttons.values())


def test_paths_are_kept_for_comparison_three_at_most(state):
    box = flow2d.gradient_flow(state)
    buttons = {b.description: b for row in box.rows[1:] for b in row.children}
    kept = lambda: [t.name for t in box.views[0].data if t.visible and t.showlegend]
    for method in ("euler", "heun", "rk4", "chebyshev"):
        state.method = method
        buttons["Keep"].click()
    labels = [f"{m}, step 0.1" for m in ("chebyshev", "rk4", "heun")]
    assert [one.label for one in state.kept] == labels
    assert [name for name in kept() if name in labels] == labels
    plane, curve = [t for t in box.views[0].data if t.name == labels[1]]
    assert plane.x.shape == curve.x.shape == (21,)
    assert curve.y == pytest.approx(state.landscape.losses(state.kept[1].path).numpy())
    buttons["Forget"].click()
    assert state.kept == () and not set(kept()) & set(labels)


def test_a_run_walks_to_the_end_and_stops_for_another_setting(state):
    state.step_size = 0.5
    state.steps = 0
    asyncio.run(state.run())
    assert state.at_end and state.steps == 4

    async def interrupted():
        run = asyncio.create_task(state.run(turns(lambda: 10)))
        await asyncio.sleep(0.05)
        state.method = "heun"
        await run

    asyncio.run(interrupted())
    assert state.method == "heun" and state.steps == 4


@pytest.mark.parametrize("step_size", [0.2, 1e6])
def test_in_a_run_only_the_path_is_painted_and_the_figure_learns_it_in_the_end(
    state, step_size
):
    state.landscape = replace(state.landscape, t_end=10 * step_size)
    state.step_size, state.steps, state.pace = step_size, 0, 15
    app = flow2d.gradient_flow(state)
    painted = json.loads(json.dumps(run_before_a_page(app), allow_nan=False))
    assert [len(xs) for (_, xs, _), _ in painted] == list(range(2, 12))
    for number, *places in painted[-1]:
        trace = app.views[0].data[number]
        assert trace.name == "steps"
        for drawn, known in zip(places, (trace.x, trace.y), strict=True):
            assert [x if math.isfinite(x) else None for x in known] == drawn


def test_no_widget_is_needed_for_the_state(state):
    state.advance()
    figure = flow2d.figure_of(state)
    assert figure.layout.xaxis.title.text == "parameter 1"
    assert {trace.name for trace in figure.data} >= {"gradient flow", "steps", "t = 0"}
