"""What moves, of notebook 03, as a person finds out: by mouse and by keyboard."""

import ast

import pytest

from tests.browser.apps import Driven

pytestmark = pytest.mark.browser
RUNS = "[[run.name, list(run.knots), list(run.accuracy), list(run.loss)] for run in state.runs]"


@pytest.fixture(scope="module")
def page(lab):
    with lab.open("03_what_moves.ipynb") as opened:
        opened.run_all()
        yield opened


def drawn(page):
    """What plotly.js shows of every run: name, steps, accuracies, losses; as `RUNS`."""
    found = page.tab.evaluate(
        """() => {
            const plots = [...document.querySelectorAll('.js-plotly-plot')];
            const data = plots.map(p => p.data).find(d => d?.length === 14);
            const half = data.length / 2;
            return data.slice(0, half).flatMap((a, i) => a.showlegend ? [[a.legendrank, [a.name,
                ...[a.x, a.y, data[half + i].y].map(v => [...v])]]] : []);
        }"""
    )
    return [run for _, run in sorted(found)]


def same(page):
    return drawn(page) == ast.literal_eval(page.kernel(RUNS))


def run_ends(page, number):
    page.until(lambda: f"Run {number}, " in page.text())
    page.until(lambda: same(page))


def test_a_run_of_every_kind_is_there_to_begin_with(page):
    page.button("Fine-tune").scroll_into_view_if_needed()
    run_ends(page, 4)
    keys, *others = drawn(page)
    assert keys[0].startswith("1: key biases") and len(set(keys[2])) == 1
    assert all(max(run[3]) - min(run[3]) > 1e-3 for run in others)
    page.screenshot("subset_explorer_opening")


def test_by_mouse_another_subset_on_another_task(page):
    page.choose("task", "digits 1")
    page.tab.get_by_label("what moves").first.select_option(label="norms (2,496)")
    page.press("Fine-tune")
    run_ends(page, 5)
    assert page.kernel("state.runs[-1].settings") == "('digits 1', 'norms', 0.01, 5)"
    page.screenshot("subset_explorer")
    page.press("Clear")
    page.until(lambda: "Nothing has moved yet" in page.text())
    assert drawn(page) == []


def tab_to(page, words):
    """Press Tab until the control with these words has the focus; a number may come first."""
    for _ in range(3):
        page.tab.keyboard.press("Tab")
        name = "e => e.getAttribute('aria-label') || e.textContent.trim()"
        if page.tab.locator(":focus").evaluate(name) == words:
            return
    raise AssertionError(f"Tab does not lead to {words!r}")


def test_the_keyboard_is_enough(page):
    keys = page.tab.keyboard
    page.tab.get_by_label("what moves").first.focus()
    keys.press("ArrowDown")
    page.until(lambda: page.kernel("state.subset") == "'all biases'")
    tab_to(page, "learning rate")
    keys.press("ArrowRight")
    page.until(lambda: page.kernel("state.lr") == "0.03")
    tab_to(page, "steps")
    keys.press("ArrowRight")
    page.until(lambda: page.kernel("state.steps") == "10")
    tab_to(page, "Fine-tune")
    keys.press("Enter")
    run_ends(page, 1)
    assert page.kernel("state.runs[0].settings") == "('digits 1', 'all biases', 0.03, 10)"
    tab_to(page, "Clear")
    keys.press("Space")
    page.until(lambda: "Nothing has moved yet" in page.text())
    assert not page.external


def test_every_control_and_every_width_and_theme(page):
    Driven(page, "subset_explorer").use_every_control()
