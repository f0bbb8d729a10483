"""The walk between two networks of notebook 10, as a person uses it."""

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser


def test_way_networks_and_place_change_the_plot_and_the_words(lab):
    with lab.open("10_model_zoos.ipynb") as page:
        page.run_all()
        page.tab.get_by_label("from").first.scroll_into_view_if_needed()
        page.until(lambda: "From network 0 to 1, aligned" in page.text())
        page.choose("to", "3")
        page.until(lambda: "From network 0 to 3, aligned" in page.text())
        page.press("as they are")
        page.until(lambda: "From network 0 to 3, as they are" in page.text())
        found = [i for i in range(page.n_plots()) if "here" in page.traces(i)]
        assert len(found) == 1 and "kernels" in page.traces(found[0])
        assert page.kernel("state.second, state.way") == "(3, 'as they are')"
        Driven(page, "network_walk").use_every_control()
        zoo = Driven(page, "network_map", state="explorer")
        zoo.agrees()
