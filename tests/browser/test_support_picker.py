"""The support picker of notebook 13, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_other_images_and_labels_change_the_picture_and_the_words(lab):
    with lab.open("13_retrieve_and_initialise.ipynb") as page:
        page.run_all()
        page.tab.get_by_label("images of").first.scroll_into_view_if_needed()
        page.until(lambda: "images of digits, labels as the networks know" in page.text())
        page.choose("images of", "glyphs")
        page.until(lambda: "30 images of glyphs" in page.text())
        shown = page.tab.locator("img[alt='support images of glyphs']")
        page.until(lambda: shown.count() == 1)
        before = shown.first.get_attribute("src")
        page.press("Other images")
        page.until(lambda: shown.first.get_attribute("src") != before)
        page.choose("labels", "moved on by one")
        page.until(lambda: "labels moved on by one" in page.text())
        assert page.kernel("state.shown, state.draw") == "('glyphs', 1)"
        Driven(page, "support_picker").use_every_control()
