"""The live Euler stepper in JupyterLab: what the buttons do to what is drawn."""

import re

import pytest

from tests.browser import speed
from tests.browser.apps import Driven

pytestmark = [pytest.mark.browser, pytest.mark.alone]

NOTEBOOK = "07_step_the_solver.ipynb"
WHERE = """i => {
  const plot = [...document.querySelectorAll('.hyperlab-app .js-plotly-plot')].pop();
  const box = plot.getBoundingClientRect(), full = plot._fullData;
  const trace = full.find(t => t.name === 'Jacobian flow' && t.xaxis === 'x2');
  const x = plot._fullLayout.xaxis2, y = plot._fullLayout.yaxis2;
  return [box.x + x._offset + x.c2p(trace.x[i]), box.y + y._offset + y.c2p(trace.y[i])];
}"""  # of a point of Jacobian flow's accuracy, in pixels of the page
ALONE = (
    "sorted(__import__('timeit').repeat(state.look_ahead, number=1, repeat=15))[7] * 1e3"
)


def slowness(page):
    """How many times 35 ms a step alone takes here and now, without drawing; 1 or more."""
    return max(1, float(page.kernel(ALONE)) / 35)


@pytest.fixture(scope="module")
def page(lab):
    with lab.open(NOTEBOOK) as page:
        page.run_all(timeout_s=300)
        page.until(lambda: plot(page) >= 0, timeout_s=60)
        yield page


@pytest.fixture(autouse=True)
def at_the_start(page):
    page.press("Pause")
    page.press("Reset")
    page.until(lambda: points(page) == 1)


def plot(page):
    """Which plot is the stepper: the one with Jacobian flow's path."""
    found = [n for n in range(page.n_plots()) if "Jacobian flow" in page.traces(n)]
    return found[-1] if found else -1


def points(page, name="Jacobian flow"):
    """How many points plotly.js draws of a path in the plane."""
    number = plot(page)
    return page.points(number, page.traces(number).index(name))


def said(page, words):
    """The line of the page that holds `words`."""
    return next((line for line in page.text().splitlines() if words in line), "")


def choose(page, label, option):
    """Set a drop-down by its whole label: the notebook's name holds "solver" too."""
    page.tab.get_by_label(label, exact=True).first.select_option(option)


def test_step_makes_the_path_longer_and_changes_the_read_outs(page):
    assert points(page, "fine-tuning") >= 10
    before = [said(page, words) for words in ("Query accuracy", "Support loss")]
    page.press("Step")
    page.until(lambda: points(page) == 2)
    page.until(lambda: "by the last step" in said(page, "Query accuracy"))
    assert [said(page, words) for words in ("Query accuracy", "Support loss")] != before
    page.until(lambda: "1 of 40 euler steps" in said(page, "of the flow"))
    assert page.kernel("state.done") == "1"
    assert not page.external


def test_run_goes_to_the_end_of_the_flow_and_pause_stops_it(page):
    page.press("Run")
    page.until(lambda: points(page) >= 3)
    page.press("Pause")
    page.tab.wait_for_timeout(600)
    reached = points(page)
    page.tab.wait_for_timeout(1_000)
    assert points(page) == reached <= 40
    page.press("Run")
    page.until(lambda: points(page) == 41)
    page.until(lambda: "t = 1 of the flow" in said(page, "of the flow"))
    page.screenshot("stepper")


def test_reset_keeps_the_path_before(page):
    page.press("Step")
    page.until(lambda: points(page) == 2)
    page.press("Reset")
    page.until(lambda: points(page) == 1)
    assert points(page, "before: Jacobian flow, euler, 40 steps") == 2


def test_the_keyboard_is_enough(page):
    page.button("Step").focus()
    page.tab.keyboard.press("Space")
    page.until(lambda: points(page) == 2)
    page.tab.keyboard.press("Enter")
    page.until(lambda: points(page) == 3)
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Space")
    page.until(lambda: points(page) == 1)


def test_a_click_on_a_point_shows_that_moment_everywhere(page):
    for n in (2, 3, 4):
        page.press("Step")
        page.until(lambda n=n: points(page) == n)
    page.tab.mouse.click(*page.still(lambda: page.tab.evaluate(WHERE, 1)))
    page.until(lambda: page.kernel("state.shown") == "1")
    page.until(lambda: "1 of 40 euler steps" in said(page, "of the flow"))
    Driven(page, "stepper").agrees()


def test_a_line_is_copied_and_pasted_back(page):
    app = Driven(page, "stepper")
    for n in (2, 3):
        page.press("Step")
        page.until(lambda n=n: points(page) == n)
    app.agrees()
    page.tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    app.app.get_by_role("button", name="Copy", exact=True).click()
    page.until(
        lambda: page.tab.evaluate("() => navigator.clipboard.readText()") == app.line()
    )
    line, theta = app.line(), page.kernel("state.readings[-1].theta.sum().item()")
    choose(page, "solver", "heun")
    page.until(lambda: points(page) == 1)
    field = app.app.get_by_label("state", exact=True)
    field.fill(line)
    app.app.get_by_role("button", name="Go there").click()
    page.until(lambda: points(page) == 3)
    assert app.line() == line
    assert page.kernel("state.readings[-1].theta.sum().item()") == theta
    field.fill("nonsense")
    app.app.get_by_role("button", name="Go there").click()
    page.until(lambda: "want a line that begins with 'stepper'" in page.text())


def test_solver_network_domain_and_task_are_chosen_by_name(page):
    choose(page, "solver", "rk4")
    choose(page, "network", "HyperFlow-L")
    page.until(
        lambda: "rk4 steps, 0 calls of network HyperFlow-L" in said(page, "of the flow")
    )
    choose(page, "domain", "plants")
    page.until(lambda: page.kernel("state.task.domain") == "'plants'", timeout_s=60)
    page.tab.get_by_label("task", exact=True).first.fill("3")
    page.tab.keyboard.press("Enter")
    page.until(lambda: page.kernel("state.task.number") == "3", timeout_s=60)
    page.press("Step")
    page.until(lambda: points(page) == 2)
    page.until(lambda: "4 calls of network HyperFlow-L" in said(page, "of the flow"))


def test_the_query_images_have_words_for_who_does_not_see_them(page):
    picture = page.tab.locator("[role=img][aria-label*='query images right']").last
    picture.wait_for()
    assert re.match(r"\d+ of \d+ query images right", picture.get_attribute("aria-label"))


def test_every_control_by_mouse_and_by_keyboard(page):
    Driven(page, "stepper", seconds=60).use_every_control()


def test_a_step_is_drawn_in_a_fifth_of_a_second(page):
    app = Driven(page, "stepper").app

    def measure():
        """Milliseconds where a step alone takes 35 ms, in proportion: median and 95 %."""
        page.press("Reset")
        page.until(lambda: points(page) == 1)
        slower = slowness(page)
        return tuple(spent / slower for spent in speed.clicks(app, 40))

    speed.in_one_of_three(measure, speed.at_once)


def test_a_run_is_drawn_ten_times_a_second_for_half_a_minute(page):
    app = Driven(page, "stepper")
    choose(page, "steps a second", "15")
    ended = "state.done and state.left in (0, state.steps)"

    def measure():
        """Drawings a second where a step alone takes 35 ms, in proportion; steps behind."""
        how = {"taken": "state.done", "ended": ended}
        found, behind = speed.run(app, lambda: points(page), **how)
        return found * slowness(page), behind

    speed.in_one_of_three(measure, speed.flowing)
    choose(page, "steps a second", "5")
