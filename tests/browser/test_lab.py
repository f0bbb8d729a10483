"""What a person sees: the first notebook, and a widget that answers to a button."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.browser import conftest
from tests.browser import lab as driver
from tests.notebooks.files import NOTEBOOKS, PYTHON3

pytestmark = pytest.mark.browser

WIDGET = """import ipywidgets
import plotly.graph_objects as go
figure = go.FigureWidget(go.Scatter(x=[0, 1], y=[0, 1], name="path"))
def step(_):
    n = len(figure.data[0].x)
    figure.update_traces(x=list(range(n + 1)), y=list(range(n + 1)))
button = ipywidgets.Button(description="Step", icon="step-forward")
button.on_click(step)
ipywidgets.VBox([button, figure])"""


def write(lab, name, *sources):
    parameters = new_code_cell('scale = "laptop"', metadata={"tags": ["parameters"]})
    cells = [parameters, *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells, metadata=PYTHON3), lab.notebooks / name)
    return lab.open(name, {"scale": "smoke"})


def test_a_press_on_step_makes_the_drawn_path_longer(lab):
    with write(lab, "widget.ipynb", WIDGET) as page:
        page.run_all()
        page.until(lambda: page.n_plots() == 1)
        assert (page.traces(), page.points()) == (["path"], 2)
        page.press("Step")
        page.until(lambda: page.points() == 3)
        assert page.kernel("len(figure.data[0].x)") == "3"
        assert page.kernel("scale") == "'smoke'"
        assert not page.external
        assert page.screenshot("widget").stat().st_size > 10_000


def test_a_cell_that_raises_is_reported(lab):
    raises = pytest.raises(AssertionError, match="ZeroDivisionError")
    with write(lab, "broken.ipynb", "1 / 0", "print(1)") as page, raises:
        page.run_all()


def test_the_first_notebook_runs_and_draws_without_leaving_the_machine(lab):
    if not NOTEBOOKS:
        pytest.skip("no notebooks yet")
    with lab.open(NOTEBOOKS[0].name) as page:
        page.run_all()
        page.until(lambda: page.n_plots() >= 1)
        page.screenshot(NOTEBOOKS[0].stem)
        assert not page.external


def test_a_link_to_the_results_opens_to_be_read(lab):
    with lab.open("07_step_the_solver.ipynb") as page:
        page.tab.get_by_role("link", name="results/held_out.md").click()
        read = page.tab.locator(".jp-MarkdownViewer")
        page.until(lambda: read.locator("table").count() > 0)
        assert not page.external
        page.tab.evaluate("window.jupyterapp.commands.execute('application:close')")


@pytest.mark.parametrize(("ci", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_a_missing_browser_is_a_failure_where_ci_is_set(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(driver, "browser_path", lambda: None)
    with pytest.raises(BaseException) as raised:
        next(conftest.lab.__wrapped__(None))
    assert type(raised.value).__name__ == outcome
