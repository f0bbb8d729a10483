"""The reader's own images and networks in notebook 16: its two apps answer and agree."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_both_apps_of_the_readers_own_parts_step(lab):
    with lab.open("16_your_own.ipynb") as page:
        page.run_all(timeout_s=300)
        for name, state in (("stepper", "state"), ("flow_sampler", "sampler")):
            app = Driven(page, name, state=state)
            app.app.scroll_into_view_if_needed()
            app.buttons()
            page.screenshot(f"own_{name}", app.app)
        assert page.console_errors == page.external == []


def test_the_browser_of_tasks_knows_the_domains_of_notebook_02(lab):
    with lab.open("02_tasks_and_domains.ipynb") as page:
        page.run_all()
        app = Driven(page, "task_browser", state="browser")
        app.buttons()
        app.choices()
        assert page.console_errors == page.external == []
