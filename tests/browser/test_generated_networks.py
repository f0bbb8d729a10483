"""The walk through codes of notebook 11, the sampler and the map of notebook 12, as used."""

import re

import pytest

from tests.browser import speed
from tests.browser.apps import Driven

pytestmark = [pytest.mark.browser, pytest.mark.alone]

WHERE = """i => {
  for (const plot of document.querySelectorAll('.js-plotly-plot')) {
    const layout = plot._fullLayout, box = plot.getBoundingClientRect();
    for (const trace of plot.data) {
      const place = Array.from(trace.customdata || []).indexOf(i);
      if (place >= 0 && trace.visible !== false)
        return [box.x + layout.xaxis._offset + layout.xaxis.c2p(trace.x[place]),
                box.y + layout.yaxis._offset + layout.yaxis.c2p(trace.y[place])];
    }
  }
}"""  # of a network on the map, in pixels of the page

KNOTS = """app => app.querySelector('.js-plotly-plot').data
    .find(trace => trace.name === "samples' paths").x.length / 16 - 1"""  # 16 samples

WATCH_COLOURS = """app => {
  const plot = app.querySelector('.js-plotly-plot');
  plot.pictures = [];
  plot.on('plotly_afterplot', () => {
    const traces = [...plot.querySelectorAll('.scatterlayer .trace')];
    const drawn = side => traces.find(t => t.__data__[0].trace.meta === side);
    const fills = side => [...drawn(side).querySelectorAll('.points path')].map(p => p.style.fill);
    const found = Array.from(plot.data.find(trace => trace.meta === 'right').y);
    plot.pictures.push([found, fills('left'), fills('right')]);
  });
}"""  # for each picture: accuracies, and how the samples of both plots are filled
PICTURES = "app => app.querySelector('.js-plotly-plot').pictures"


def test_a_walk_leads_through_the_code(lab):
    with lab.open("11_encoding_weights.ipynb") as page:
        page.run_all()
        page.tab.get_by_label("from").first.scroll_into_view_if_needed()
        page.until(lambda: "From network 0 to 1, through the code" in page.text())
        page.choose("to", "2")
        page.until(lambda: "From network 0 to 2, through the code" in page.text())
        page.press("aligned")
        page.until(lambda: "From network 0 to 2, aligned" in page.text())
        page.screenshot("latent_walk")
        Driven(page, "network_walk").agrees()
        assert not page.external


def test_samples_flow_and_a_click_chooses_a_network(lab):
    with lab.open("12_flow_matching_on_weights.ipynb") as page:
        page.run_all()
        page.tab.get_by_label("solver").first.scroll_into_view_if_needed()
        page.press("Reset")
        page.until(lambda: "t = 0.00" in page.text())
        page.press("Step")
        page.until(lambda: "t = 0.05" in page.text())
        page.choose("solver", "heun")
        page.until(lambda: "20 steps of heun: 2 of 40 evaluations" in page.text())
        page.press("Run")
        page.until(lambda: "t = 1.00, 20 steps of heun" in page.text())
        assert page.kernel("state.knot, state.method") == "(20, 'heun')"

        page.tab.get_by_label("plane").first.scroll_into_view_if_needed()
        at = page.still(lambda: page.tab.evaluate(WHERE, 5))
        page.tab.mouse.move(*at)
        page.tab.mouse.click(*at)
        page.until(lambda: page.kernel("map_state.chosen") == "5")
        page.until(lambda: "Network 5, trained 5" in page.text())
        page.choose("plane", "weights of its own")
        page.until(lambda: page.kernel("map_state.plane") == "'weights of its own'")
        Driven(page, "network_map", state="map_state").use_every_control()
        sampler = Driven(page, "flow_sampler")
        sampler.use_every_control()
        page.tell("state.steps, state.pace = 100, 15")
        sampler.agrees()
        brighter_where_better(sampler)
        as_fast_as_it_should_be(sampler)


def brighter_where_better(sampler):
    """In all pictures of a run the samples are coloured by what their networks reach now."""
    page = sampler.page
    page.press("Reset")
    sampler.agrees()
    sampler.app.evaluate(WATCH_COLOURS)
    page.press("Run")
    page.until(lambda: len(sampler.app.evaluate(PICTURES)) > 40)
    page.press("Pause")
    pictures = sampler.app.evaluate(PICTURES)
    for found, left, right in pictures:
        assert left == right
        in_order = sorted(zip(found, map(_brightness, left), strict=True))
        assert [light for _, light in in_order] == sorted(light for _, light in in_order)
    assert len({tuple(found) for found, *_ in pictures}) > 20
    assert len({tuple(left) for _, left, _ in pictures}) > 20


def _brightness(fill):
    red, green, blue = map(int, re.findall(r"\d+", fill))
    return 0.3 * red + 0.6 * green + 0.1 * blue


def as_fast_as_it_should_be(sampler):
    """A step is drawn in a fifth of a second, a run ten times a second."""
    page = sampler.page
    page.press("Reset")
    sampler.agrees()
    measure = lambda: speed.clicks(sampler.app, 20)
    speed.in_one_of_three(measure, speed.at_once)
    knots = lambda: sampler.app.evaluate(KNOTS)
    how = {"taken": "state.knot", "ended": "state.knot == state.steps", "seconds": 10}
    measure = lambda: speed.run(sampler, knots, **how)
    speed.in_one_of_three(measure, speed.flowing)
