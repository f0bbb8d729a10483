"""The drift field app: its vectors are the task's own, and what is hidden is said."""

import subprocess
import sys

import pytest
import torch

from hyperlab.apps import drift_field
from hyperlab.apps.app import App
from hyperlab.apps.drift_field import MOMENTS, ROLLOUT, DriftField, Scene
from hyperlab.base import ConfigError
from hyperlab.views import figures
from tests.apps.states import field, scene


@pytest.fixture
def state():
    return field()


def test_it_starts_at_the_first_task_and_network_at_time_zero(state):
    assert (state.scene, state.network, float(state.t)) == ("a", "L", 0)
    assert torch.equal(state.theta, state.current.theta0)
    assert state.plane.to_plane(state.theta).norm() < 1e-5


def test_the_measures_are_those_of_the_full_space(state):
    m = state.measures()
    assert (m["error"], m["cosine"]) == pytest.approx((0.5, 1), abs=1e-5)
    state.network, state.moment = "C", 7
    m = state.measures()
    assert (m["error"], m["cosine"]) == pytest.approx((0, 1), abs=1e-4)
    assert m["shown_true"] == pytest.approx(float(state.plane.share(state.true)))
    assert (
        "relative error of the drift 0.00, cosine 1.00. The plane shows" in state.read_out()
    )


def test_theta_is_on_the_recorded_path_or_on_the_roll_out(state):
    state.moment = MOMENTS
    chord = state.current.paths["L"].thetas[-1] - state.current.theta0
    torch.testing.assert_close(state.theta - state.current.theta0, chord)
    state.along = ROLLOUT
    torch.testing.assert_close(state.theta - state.current.theta0, chord / 2)


def test_the_field_goes_through_theta_and_has_the_drift_of_every_grid_point(state):
    state.network, state.moment = "C", 4
    places, vectors = state.field()
    assert len(places) == drift_field.GRID[0] * drift_field.GRID[1]
    expected = state.plane.arrows(state.predicted).expand_as(vectors)
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=1e-4)


def test_a_drift_that_depends_on_theta_is_evaluated_off_the_path():
    plain = scene()
    pull = {"C": lambda t, theta: plain.theta0 - theta}
    state = DriftField([Scene(name="a", paths={"C": plain.paths["C"]}, drifts=pull)])
    places, vectors = state.field()
    torch.testing.assert_close(vectors, -places, atol=1e-5, rtol=1e-4)


def test_another_task_has_a_plane_of_its_own(state):
    before = state.plane
    state.scene = "b"
    assert state.plane is not before and state.current.name == "b"
    assert state.plane.variance(state.recorded("C")) > 0.9


def test_networks_without_a_path_or_a_drift_are_refused():
    s = scene()
    with pytest.raises(ConfigError, match=r"a: paths of \['C', 'L'\], drifts of \['L'\]"):
        Scene(name="a", paths=s.paths, drifts={"L": s.drifts["L"]})


def test_the_buttons_walk_through_time_and_stop_at_its_ends(state):
    box = App(state)
    walk = [("earlier", 0), ("later", 1), ("end", MOMENTS), ("later", MOMENTS)]
    for name, moment in [*walk, ("earlier", MOMENTS - 1), ("start", 0)]:
        box.buttons[name].click()
        assert state.moment == moment


def test_the_figure_has_one_scale_and_known_colours(state):
    figure = state.drawn()
    assert figure.layout.yaxis.scaleanchor == "x"
    colours = {trace.line.color for trace in figure.data if trace.mode == "lines"}
    assert colours <= {*figures.OKABE_ITO, figures.GREY}


def test_projection_loads_neither_umap_nor_plotly():
    code = (
        "import sys; from hyperlab.views import projection; "
        "print(*{'umap', 'plotly', 'ipywidgets', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8"
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")
