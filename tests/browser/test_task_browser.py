"""The task browser, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_another_task_other_settings_and_a_style_show_other_images(lab):
    with lab.open("00_welcome.ipynb") as page:
        page.run_all()
        shown = page.tab.locator("img[alt^='support images of']")
        page.until(lambda: shown.count() == 5)
        page.tab.get_by_role("button", name="Next task").scroll_into_view_if_needed()
        page.screenshot("task_browser")
        before = shown.first.get_attribute("src")
        page.press("Next task")
        page.until(lambda: "Task 2 of digits, plain" in page.text())
        page.until(lambda: shown.first.get_attribute("src") != before)
        page.press("Next style")
        page.until(lambda: "Task 2 of digits, style 1" in page.text())
        page.choose("domain", "faces")
        page.until(lambda: "Task 2 of faces" in page.text())
        page.tab.get_by_label("ways").first.fill("3")
        page.tab.keyboard.press("Enter")
        page.until(lambda: shown.count() == 3)
        page.press("20 tasks on")
        page.until(lambda: "Mean of 21 tasks" in page.text())
        page.screenshot("task_browser_faces")
        assert page.kernel("browser.n_way, browser.number") == "(3, 22)"
        Driven(page, "task_browser", state="browser").use_every_control()
