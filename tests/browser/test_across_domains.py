"""The app of notebook 08, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_measured_gains_are_drawn_with_their_intervals(lab):
    with lab.open("08_across_domains.ipynb") as page:
        page.run_all()
        page.button("Measure").scroll_into_view_if_needed()
        page.until(lambda: "Nothing measured yet" in page.text())
        page.press("Measure")
        page.until(lambda: "10 steps, on digits" in page.text(), timeout_s=60)
        page.choose("domain", "circuits")
        page.press("Measure")
        page.until(lambda: "10 steps, on circuits" in page.text(), timeout_s=60)
        drawn = lambda: [i for i in range(page.n_plots()) if len(page.traces(i)) == 2]
        page.until(lambda: drawn())
        assert all(
            name.endswith(("digits", "circuits")) for name in page.traces(drawn()[-1])
        )
        page.screenshot("across_domains")
        assert (
            page.kernel("[one.domain for one in state.measured]")
            == "['digits', 'circuits']"
        )
        page.press("Clear")
        page.until(lambda: "Nothing measured yet" in page.text())
        Driven(page, "across_domains", "across_domains", seconds=90).use_every_control()
