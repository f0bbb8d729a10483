"""The walk down a landscape in notebook 01, as a person uses it."""

import pytest

from tests.browser import speed
from tests.browser.apps import Driven

pytestmark = [pytest.mark.browser, pytest.mark.alone]


@pytest.fixture(scope="module")
def app(lab):
    with lab.open("01_gradient_descent_is_an_ode.ipynb") as page:
        page.run_all()
        yield Driven(page, "gradient_flow")


def points(app):
    """How many points of the path are drawn."""
    return app.app.evaluate(
        """app => app.querySelector('.js-plotly-plot').data
            .find(trace => trace.name === 'steps').x.length"""
    )


def test_steps_solvers_and_kept_paths_are_drawn(app):
    app.use_every_control()


def test_a_step_is_drawn_in_a_fifth_of_a_second(app):
    measure = lambda: speed.clicks(app.app, 40)
    speed.in_one_of_three(measure, speed.at_once)


def test_a_run_is_drawn_ten_times_a_second_for_half_a_minute(app):
    app.page.choose("steps a second", "15")
    app.page.tab.get_by_label("step size", exact=True).first.fill("0.25")
    app.page.tab.keyboard.press("Enter")
    app.page.until(lambda: app.page.kernel("state.step_size") == "0.25")
    how = {"taken": "state.steps", "ended": "not state.left"}
    measure = lambda: speed.run(app, lambda: points(app), **how)
    speed.in_one_of_three(measure, speed.flowing)
