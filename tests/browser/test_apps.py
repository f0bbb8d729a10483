"""The apps of the course as a person uses them; those with more to try have a file of their own."""

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


def test_kind_knots_and_time_change_what_is_drawn(lab):
    with lab.open("05_interpolants.ipynb") as page:
        page.run_all()
        Driven(page, "interpolant").use_every_control()


def test_time_network_and_path_change_the_arrows_and_the_words(lab):
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
        page.press("HyperFlow-L")
        page.until(
            lambda: "network HyperFlow-L, t = 1.00 on the recorded path" in page.text()
        )
        lengths = [page.points(plot, trace) for trace in range(5)]
        assert lengths == [6 * 99, 21, 21, 6, 6]
        assert page.kernel("state.moment, state.network") == "(20, 'HyperFlow-L')"
        Driven(page, "drift_field").use_every_control()


def test_measured_gains_are_drawn_with_their_intervals(lab):
    with lab.open("08_across_domains.ipynb") as page:
        page.run_all()
        page.button("Measure").scroll_into_view_if_needed()
        assert page.kernel("len(state.measured)") == "3"  # by the cell below the app
        page.press("Clear")
        page.until(lambda: "Nothing measured yet" in page.text())
        app = Driven(page, "across_domains", seconds=90)
        page.choose("method", "Jacobian flow, Chebyshev")
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


def test_backbone_and_rival_change_the_bill_and_the_words(lab):
    with lab.open("09_what_it_costs.ipynb") as page:
        page.run_all()
        page.tab.get_by_label("backbone").first.scroll_into_view_if_needed()
        page.until(lambda: "Jacobian flow pays off: after" in page.text())
        page.choose("instead of", "bias-tuning")
        page.until(lambda: "A task: bias-tuning" in page.text())
        before = page.kernel("state.crossing()")
        page.choose("recorded", "704")
        page.until(lambda: page.kernel("state.crossing()") != before)
        assert page.kernel("state.recorded") in ("704", "'704'")
        Driven(page, "calculator").use_every_control()


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


def test_task_support_and_number_change_the_plot_and_the_words(lab):
    with lab.open("15_few_shot_heads.ipynb") as page:
        page.run_all()
        page.tab.get_by_text("heads drawn", exact=True).first.scroll_into_view_if_needed()
        page.until(lambda: "Task 0" in page.text())
        page.press("another task's")
        page.until(lambda: "told another task's support" in page.text())
        page.press("its own")
        page.until(lambda: page.kernel("state.given") == "'its own'")
        found = [i for i in range(page.n_plots()) if "drawn heads" in page.traces(i)]
        assert len(found) == 1 and "prototypes" in page.traces(found[0])
        Driven(page, "head_comparison").use_every_control()
