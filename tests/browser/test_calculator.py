"""The cost calculator of notebook 09, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_backbone_and_rival_change_the_bill_and_the_words(lab):
    with lab.open("09_what_it_costs.ipynb") as page:
        page.run_all()
        page.tab.get_by_label("backbone").first.scroll_into_view_if_needed()
        page.until(lambda: "HyperFlow pays off: after" in page.text())
        page.choose("instead of", "bias-tuning")
        page.until(lambda: "A task: bias-tuning" in page.text())
        before = page.kernel("state.crossing()")
        page.choose("recorded", "704")
        page.until(lambda: page.kernel("state.crossing()") != before)
        assert page.kernel("state.recorded") in ("704", "'704'")
        Driven(page, "calculator").use_every_control()
