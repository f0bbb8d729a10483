"""The comparison of heads of notebook 15, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_task_support_and_number_change_the_plot_and_the_words(lab):
    with lab.open("15_few_shot_heads.ipynb") as page:
        page.run_all()
        page.tab.get_by_text("heads drawn", exact=True).first.scroll_into_view_if_needed()
        page.until(lambda: "Task 0" in page.text())
        page.press("another task's")
        page.until(lambda: "told another task's support" in page.text())
        page.press("its own")
        page.until(lambda: page.kernel("state.told") == "'its own'")
        found = [i for i in range(page.n_plots()) if "drawn heads" in page.traces(i)]
        assert len(found) == 1 and "prototypes" in page.traces(found[0])
        Driven(page, "head_comparison").use_every_control()
