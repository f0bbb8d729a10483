"""The sampler's rules hold without a browser, and its view shows what the state says."""

import numpy as np
import pytest
import torch

from hyperlab.apps import flow_sampler
from hyperlab.apps.app import App
from hyperlab.apps.flow_sampler import SamplerState
from hyperlab.base import ConfigError, stream
from hyperlab.weights import encoders, flow, zoo
from tests.apps.states import DATA, NET, NETWORKS, QUICK, sampler, sampler_parts

FLOW, PCA = sampler_parts()


@pytest.fixture
def state():
    return sampler()


def test_the_path_leads_from_the_prior_to_the_flows_samples(state):
    draw = lambda: stream(0, "flow sampler")
    torch.testing.assert_close(state.path()[0], FLOW.from_unit(FLOW.start(16, draw())))
    for method in flow_sampler.METHODS:
        state.method, state.steps = method, 3
        ends = FLOW.sample(16, generator=draw(), steps=3, method=method)
        assert torch.equal(state.path()[-1], ends)


def test_other_seeds_are_other_starts_and_the_same_seed_the_same(state):
    first = state.path()
    state.seed = 1
    assert (state.path()[0] - first[0]).abs().min() > 0
    state.seed = 0
    assert torch.equal(state.path(), first)


def test_more_steps_of_euler_come_nearer_to_the_adaptive_solvers_end(state):
    def end(method, steps):
        state.method, state.steps = method, steps
        return state.path()[-1]

    truth = end("adaptive", 1)
    off = [float((end("euler", steps) - truth).norm()) for steps in (1, 4, 16, 64)]
    assert off[0] > 2 * off[1] > 4 * off[2] > 8 * off[3] > 0


@pytest.mark.parametrize(("method", "each"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_every_step_asks_the_velocity_as_often_as_its_formula_does(state, method, each):
    state.method, state.steps, state.knot = method, 10, 3
    assert state.nfe() == (3 * each, 10 * each)


def test_the_adaptive_solver_asks_ever_more_and_the_whole_at_the_end(state):
    state.method, state.steps = "adaptive", 4
    asked = []
    for _ in range(5):
        asked.append(state.nfe()[0])
        state.step()
    assert asked == sorted(asked) and asked[0] == 0 < asked[1] < asked[-1]
    assert asked[-1] == state.nfe()[1]


def test_accuracies_are_those_of_the_decoded_codes_and_are_kept(state, monkeypatch):
    state.knot = 7
    found = state.accuracies()
    networks = PCA.decode(state.path()[7])
    assert torch.equal(found, zoo.accuracies(NET, networks, *DATA))
    monkeypatch.setattr(flow_sampler, "accuracies", None)
    assert torch.equal(state.accuracies(), found)


def test_the_curve_has_the_knots_that_were_visited_with_these_settings(state):
    state.steps = 4
    for knot in (0, 3, 1):
        state.knot = knot
        state.accuracies()
    times, means = state.curve()
    assert times.tolist() == [0, 0.25, 0.75]
    assert float(means[1]) == pytest.approx(float(state.accuracies().mean()))
    state.method = "heun"
    assert state.curve()[0].tolist() == [0.25]


def test_the_plane_is_that_of_the_originals_codes(state):
    originals, paths = state.plane()
    codes = PCA.encode(NETWORKS)
    assert originals.shape == (12, 2) and paths.shape == (16, 21, 2)
    first = originals - originals.mean(0)
    # The codes are principal components already: the plane holds the first two.
    torch.testing.assert_close(first.abs(), codes[:, :2].abs(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(paths[:, -1], state.axes.to_plane(state.path()[-1]))
    shown = float(codes[:, :2].square().sum() / codes.square().sum())
    assert f"The plane shows {shown:.0%} of the variance" in state.read_out()


def test_another_number_of_steps_keeps_the_time(state):
    state.knot = 20
    state.steps = 5
    assert (state.knot, state.t) == (5, 1)
    state.knot = 2
    state.steps = 100
    assert (state.knot, state.t) == (40, 0.4)


def test_the_words_say_solver_time_evaluations_and_accuracies(state):
    state.method, state.steps, state.knot = "heun", 8, 2
    words, found = state.read_out(), state.accuracies()
    assert words.startswith("t = 0.25, 8 steps of heun: 4 of 16 evaluations")
    assert f"mean {found.mean():.1%}, best {found.max():.1%}" in words
    kept = encoders.ceiling(NET, PCA, NETWORKS, DATA)
    assert f"mean {kept.before.mean():.1%}, decoded {kept.after.mean():.1%}" in words


def test_what_does_not_fit_is_named():
    with pytest.raises(ConfigError, match="codes of 5 numbers, got one of 6"):
        SamplerState(FLOW, encoders.PCA(NETWORKS, 5), NET, NETWORKS, DATA)
    with pytest.raises(ConfigError, match="three or more originals .* got 0 with 6"):
        SamplerState(FLOW, PCA, NET, NETWORKS[:0], DATA)
    told = flow.Flow(PCA.encode(NETWORKS), QUICK, context=3)
    with pytest.raises(ConfigError, match="without context .* a context of 3"):
        SamplerState(told, PCA, NET, NETWORKS, DATA)


def shown(figure, name, side=None):
    [trace] = [t for t in figure.data if (t.name, t.meta) == (name, side)]
    return trace


def same(drawn, wanted):
    torch.testing.assert_close(torch.tensor(np.array(drawn)), wanted, check_dtype=False)


def compare(figure, state):
    """The figure shows paths up to here, the samples here, and the knots visited."""
    paths, found = state.plane()[1], state.accuracies()
    left, right = (shown(figure, flow_sampler.SAMPLES, side) for side in ("left", "right"))
    same(left.x, paths[:, state.knot, 0])
    same(left.y, paths[:, state.knot, 1])
    for spots in (left, right):
        same(spots.marker.color, found)
    same(right.y, found)
    assert set(right.x) == {state.t}
    strands = np.array(shown(figure, flow_sampler.PATHS).y).reshape(16, -1)
    same(strands[:, :-1], paths[:, : state.knot + 1, 1])
    mean = shown(figure, flow_sampler.MEAN)
    for drawn, wanted in zip((mean.x, mean.y), state.curve(), strict=True):
        same(drawn, wanted)


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_figure_shows_what_the_state_says(state):
    state.knot = 4
    figure = state.drawn()
    compare(figure, state)
    same(shown(figure, "originals").x, state.plane()[0][:, 0])
    for name, found in (
        (flow_sampler.ORIGINALS, state.ceiling.before),
        (flow_sampler.DECODED, state.ceiling.after),
    ):
        assert shown(figure, name).y == pytest.approx([float(found.mean())] * 2)


@pytest.mark.usefixtures("unchecked_shapes")
def test_another_number_of_steps_leaves_the_slider_at_the_same_time(state):
    box, seen = App(state), []
    slider = box.controls["knot"]
    slider.value = 10
    state.observe(lambda change: seen.append(change["new"]), "knot")
    for steps, knot in ((4, 2), (100, 50)):
        box.controls["steps"].value = steps
        assert (slider.max, slider.value, state.knot) == (steps, knot, knot)
    assert seen == [2, 50]  # and nothing on the way


@pytest.mark.usefixtures("unchecked_shapes")
def test_the_buttons_step_run_and_reset(state):
    box = App(state)
    state.steps, state.pace = 3, 15
    box.buttons["step"].click()
    assert state.knot == 1
    box.buttons["run"].click()  # no loop runs here, so all of it happens now
    assert state.knot == 3
    compare(box.figure, state)
    assert len(shown(box.figure, flow_sampler.MEAN).x) == 4
    assert box.buttons["step"].disabled
    box.buttons["reset"].click()
    assert state.knot == 0 and not box.buttons["step"].disabled
