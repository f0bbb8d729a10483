"""The app of notebook 08, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_measured_gains_are_drawn_with_their_intervals(lab):
    with lab.open("08_across_domains.ipynb") as page:
        page.run_all()
        page.button("Measure").scroll_into_view_if_needed()
        assert page.kernel("len(state.measured)") == "3"  # by the cell below the app
        page.press("Clear")
        page.until(lambda: "Nothing measured yet" in page.text())
        app = Driven(page, "across_domains", seconds=90)
        page.choose("method", "HyperFlow-C, Chebyshev")
        for number, domain in enumerate(("digits", "circuits"), start=1):
            page.choose("domain", domain)
            page.press("Measure")
            measured = lambda n=number: page.kernel("len(state.measured)") == str(n)
            page.until(measured, timeout_s=60)
        domains = "[one.domain for one in state.measured]"
        assert page.kernel(domains) == "['digits', 'circuits']"
        app.agrees()
        page.screenshot("across_domains")
        app.use_every_control()
