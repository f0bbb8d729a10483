"""The drift field, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_time_objective_and_path_change_the_arrows_and_the_words(lab):
    with lab.open("06_drift_network.ipynb") as page:
        page.run_all()
        page.button("Later").scroll_into_view_if_needed()
        name = "drift across the plane"
        found = lambda: [i for i in range(page.n_plots()) if name in page.traces(i)]
        page.until(found)
        (plot,) = found()
        page.until(lambda: "t = 0.00 on its own roll-out" in page.text())
        page.press("Later")
        page.until(lambda: "t = 0.05 on its own roll-out" in page.text())
        page.press("recorded path")
        page.until(lambda: "t = 0.05 on the recorded path" in page.text())
        page.press("End")
        page.press("L")
        page.until(lambda: "objective L, t = 1.00 on the recorded path" in page.text())
        lengths = [page.points(plot, trace) for trace in range(5)]
        assert lengths == [6 * 99, 21, 21, 6, 6]
        assert page.kernel("state.moment, state.objective") == "(20, 'L')"
        Driven(page, "drift_field").use_every_control()
