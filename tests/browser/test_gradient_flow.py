"""The walk down a landscape in notebook 01, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_steps_solvers_and_kept_paths_are_drawn(lab):
    with lab.open("01_gradient_descent_is_an_ode.ipynb") as page:
        page.run_all()
        Driven(page, "flow2d", "gradient_flow").use_every_control()
