"""A book of two notebooks as a visitor reads it: all is there, and nothing is fetched elsewhere."""

import pytest
from course import book

from hyperlab.views import figures
from tests.browser import site
from tests.notebooks.files import ROOT, SMOKE

pytestmark = pytest.mark.browser
GRADIENT = "notebooks/01_gradient_descent_is_an_ode.html"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of a small book."""
    made = book.Book(
        root=ROOT,
        out=tmp_path_factory.mktemp("book") / "site",
        plotly_js=figures.plotly_js(),
        parameters=SMOKE,
    )
    names = ("01_gradient_descent_is_an_ode", "05_interpolants")
    book.build(made, [ROOT / "notebooks" / f"{name}.ipynb" for name in names])
    return made.out


@pytest.fixture(scope="module")
def visit(lab, built):
    with site.served(built) as address:
        visit = site.Visit(lab.browser, address, built)
        yield visit.all()
        visit.tab.close()


def test_every_page_opens_every_link_leads_somewhere_and_nobody_else_is_asked(visit):
    assert visit.faults == []
    assert {"index.html", "results/held_out.html", GRADIENT} <= set(visit.plots)


def test_every_plot_is_drawn(visit):
    assert visit.plots[GRADIENT] >= 8
    assert visit.plots["notebooks/05_interpolants.html"] >= 8


def test_an_app_shows_the_state_that_the_run_left(visit):
    visit.open(GRADIENT)
    app = visit.tab.locator(".recorded.app").first
    for words in ("Halve the step", "step size", "20 gradients", "as the run left it"):
        assert words in app.inner_text()
    assert app.locator("[aria-pressed=true]").inner_text() == "euler"
    assert app.get_by_label("step size").input_value() == "2.0"
    assert app.locator(".js-plotly-plot").count() == 1


def test_plots_are_alive(visit):
    visit.open(GRADIENT)
    plot = visit.tab.locator(".js-plotly-plot").first
    plot.locator(".nsewdrag").first.hover()
    plot.locator(".hoverlayer .hovertext, .hoverlayer .legend").first.wait_for()


def test_formulas_are_set_and_a_search_finds(visit):
    visit.open(GRADIENT)
    assert visit.tab.locator("math").count() > 20
    visit.tab.goto(f"{visit.address}/search.html?q=chebyshev")
    visit.tab.locator("#search-results li a").first.wait_for()


def test_the_book_reads_from_the_disk_too(lab, built):
    visit = site.Visit(lab.browser, built.as_uri(), built)
    visit.open(GRADIENT)
    assert visit.faults == [] and visit.plots[GRADIENT] >= 8
    visit.tab.close()
