"""The generator that is fine-tuned in notebook 14, as used."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_updates_go_on_and_another_stop_starts_anew(lab):
    with lab.open("14_finetune_through_the_ode.ipynb") as page:
        page.run_all()
        page.tab.get_by_text("t' (no gradient").first.scroll_into_view_if_needed()
        page.press("Reset")
        page.until(lambda: "After 0 updates" in page.text())
        page.press("Step")
        page.until(lambda: "After 5 updates" in page.text())
        page.press("Run")
        page.until(lambda: "After 60 updates" in page.text())
        assert page.kernel("state.done, state.stop") == "(60, 0.4)"
        page.kernel("state.set_trait('stop', 0.8)")
        page.until(lambda: "t' = 0.80" in page.text())
        assert page.kernel("state.done") == "0"
        Driven(page, "through_time", seconds=90).use_every_control()
