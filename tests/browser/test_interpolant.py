"""The paths between knots in notebook 05, as a person uses them."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_kind_knots_and_time_change_what_is_drawn(lab):
    with lab.open("05_interpolants.ipynb") as page:
        page.run_all()
        Driven(page, "interpolant").use_every_control()
