"""The recorded paths of notebook 04, as a person leafs through them: by mouse and by keyboard."""

import ast

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser
KNOT = (
    "[state.flat()[state.knot].tolist(), float(state.data.losses[state.task, state.knot])]"
)


@pytest.fixture(scope="module")
def page(lab):
    with lab.open("04_collect_trajectories.ipynb") as opened:
        opened.run_all()
        slider(opened, "knot").scroll_into_view_if_needed()
        yield opened


def slider(page, label):
    """The handle of the slider with this label."""
    return page.tab.locator(f".widget-slider:has-text('{label}') [role=slider]").first


def plot(page):
    """The place of the app's figure among all plots."""
    return next(i for i in range(page.n_plots()) if "chosen knot" in page.traces(i))


def drawn(page):
    """What plotly.js marks: the chosen knot in the plane, and its loss."""
    spots = page.tab.evaluate(
        """plot => document.querySelectorAll('.js-plotly-plot')[plot].data
            .filter(t => t.name === 'chosen knot').map(t => [t.x[0], t.y[0]])""",
        plot(page),
    )
    return [spots[0], spots[1][1]]


def arrives(page, task, knot):
    page.until(lambda: f"Task {task} of 8" in page.text())
    page.until(lambda: f"Knot {knot} of 4" in page.text())
    wanted = ast.literal_eval(page.kernel(KNOT))
    page.until(lambda: drawn(page)[0] == pytest.approx(wanted[0]))
    assert drawn(page)[1] == pytest.approx(wanted[1])


def place(page, name, knot):
    """Where on the screen a point of a line lies."""
    return page.tab.evaluate(
        """([plot, name, knot]) => {
            const gd = document.querySelectorAll('.js-plotly-plot')[plot];
            const i = gd.data.findIndex(t => t.name === name), {xaxis, yaxis} = gd._fullData[i];
            const [x, y] = [xaxis, yaxis].map(a => gd._fullLayout[
                a[0] + 'axis' + a.slice(1)]);
            const box = gd.getBoundingClientRect();
            return [box.left + x._offset + x.d2p(gd.data[i].x[knot]),
                    box.top + y._offset + y.d2p(gd.data[i].y[knot])];
        }""",
        [plot(page), name, knot],
    )


@pytest.mark.parametrize(("line", "knot"), [("support loss", 1), ("this task's path", 3)])
def test_a_click_on_a_point_chooses_its_knot(page, line, knot):
    at = page.still(lambda: place(page, line, knot))
    page.tab.mouse.move(*at)
    page.tab.wait_for_timeout(300)
    page.tab.mouse.click(*at)
    arrives(page, 0, knot)


def test_another_task_and_another_plane(page):
    shown = page.tab.locator("img[alt^='support images of task']")
    before = shown.first.get_attribute("src")
    page.press("Next task")
    arrives(page, 1, 3)
    page.until(lambda: shown.first.get_attribute("src") != before)
    page.press("of this path")
    page.until(lambda: "The plane of this path shows" in page.text())
    arrives(page, 1, 3)
    page.screenshot("path_browser")


def test_the_keyboard_is_enough(page):
    keys = page.tab.keyboard
    page.tab.get_by_label("task", exact=True).first.focus()
    keys.press("Control+a")
    keys.type("5")
    keys.press("Enter")
    arrives(page, 5, 3)
    page.button("Next task").focus()
    keys.press("Enter")
    arrives(page, 6, 3)
    slider(page, "knot").focus()
    keys.press("ArrowLeft")
    arrives(page, 6, 2)
    keys.press("ArrowRight")
    arrives(page, 6, 3)
    assert not page.external


def test_every_control_and_every_width_and_theme(page):
    Driven(page, "path_browser").use_every_control()
