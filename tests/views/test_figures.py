"""Figures show the arrays they are given, in colours and shapes that can be told apart."""

import json

import numpy as np
import plotly.io as pio
import pytest
import torch

from hyperlab.views import figures

SQUARE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])


def test_a_path_is_drawn_point_for_point_and_its_start_is_marked():
    path, start = figures.path_2d(SQUARE, name="walk").data
    assert path.name == "walk" and np.array_equal(path.x, [0, 1, 1])
    assert (start.name, list(start.x), list(start.y)) == ("t = 0", [0], [0])


def test_a_path_of_many_points_is_thinned_and_keeps_its_ends():
    xs = figures.path_2d(torch.arange(10_001.0)[:, None].expand(-1, 2)).data[0].x
    assert len(xs) == figures.MOST_KNOTS and (xs[0], xs[-1]) == (0, 10_000)
    assert np.diff(xs).min() > 9 and np.diff(xs).max() < 12


def test_further_paths_get_another_colour_dash_and_marker_and_no_second_start():
    figure = figures.path_2d(SQUARE, name="first")
    assert figures.path_2d(SQUARE + 1, name="second", on=figure) is figure
    first, _, second = figure.data
    assert first.line.color != second.line.color and first.line.dash != second.line.dash
    assert first.marker.symbol != second.marker.symbol


def test_the_second_channel_tells_every_pair_of_curves_apart():
    x = torch.arange(3.0)
    curves = {str(i): (x, x + i) for i in range(7)}
    figure = figures.lines(curves, x_title="step", y_title="loss", log="y")
    looks = {(t.line.color, t.line.dash, t.marker.symbol) for t in figure.data}
    assert len(looks) == len({t.marker.symbol for t in figure.data}) == 7
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("linear", "log")


def test_colours_are_okabe_and_itos():
    original = set(
        [
            "#0072B2",
            "#D55E00",
            "#009E73",
            "#CC79A7",
            "#E69F00",
            "#56B4E9",
            "#F0E442",
            "#000000",
        ]
    )
    assert set(figures.OKABE_ITO) <= original
    assert figures.TEMPLATE.layout.colorway == figures.OKABE_ITO


def test_an_arrow_starts_at_its_point_and_ends_at_the_scaled_vector():
    points = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    vectors = torch.tensor([[1.0, 0], [0, 2.0]])
    arrows = figures.vector_field(points, vectors, scale=0.5).data[0]
    drawn = np.stack([arrows.x, arrows.y], 1).reshape(2, 6, 2)
    np.testing.assert_allclose(drawn[:, 0], points)
    np.testing.assert_allclose(drawn[:, 1], points + 0.5 * vectors)
    assert np.isnan(drawn[:, 5]).all()


def test_the_longest_arrow_of_a_grid_reaches_to_the_next_point():
    axis = torch.linspace(-1, 1, 9)
    points = torch.cartesian_prod(axis, axis)
    arrows = figures.vector_field(points, 100 * points).data[0]
    drawn = np.stack([arrows.x, arrows.y], 1).reshape(-1, 6, 2)
    longest = np.linalg.norm(drawn[:, 1] - drawn[:, 0], axis=1).max()
    assert longest == pytest.approx(0.25, rel=0.15)


def test_groups_of_points_differ_in_colour_and_marker():
    groups = {"a": SQUARE, "b": SQUARE + 1}
    one, two = figures.points_2d(groups, x_title="ink", y_title="slant").data
    assert (one.name, one.mode, list(two.x)) == ("a", "markers", [1, 2, 2])
    assert one.marker.symbol != two.marker.symbol and one.marker.color != two.marker.color


def test_a_landscape_has_its_values_where_its_axes_say():
    xs, ys = torch.linspace(0, 1, 4), torch.linspace(5, 6, 3)
    values = ys[:, None] + xs
    contour = figures.landscape(xs, ys, values).data[0]
    np.testing.assert_allclose(contour.z[2], 6 + xs)


def test_no_figure_offers_to_upload_itself():
    bundle = pio.renderers["plotly_mimetype"].to_mimebundle(
        figures.path_2d(SQUARE).to_dict()
    )
    config = bundle["application/vnd.plotly.v1+json"]["config"]
    assert config["modeBarButtonsToRemove"] == ["sendChartToCloud"]


def test_a_figure_is_small():
    assert len(json.dumps(figures.path_2d(SQUARE).to_dict(), default=str)) < 6_000


def test_a_grid_has_a_name_at_the_middle_of_every_row_and_group():
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    figure = figures.image_grid({"a": (images, images[:1]), "b": (images[:2], images)},
                                groups=("left", "right"))  # fmt: skip
    assert list(figure.layout.yaxis.ticktext) == ["a", "b"]
    assert list(figure.layout.yaxis.tickvals) == [6, 18]  # cells of 8 + 4 pixels
    assert list(figure.layout.xaxis.ticktext) == ["left", "right"]


def test_histograms_count_in_per_cent_and_mark_the_value_to_compare_with():
    figure = figures.histograms({"ways": torch.arange(5, 51)}, marks={"CDFSL: 5": 5.0})
    (bars,), (line,) = figure.data, figure.layout.shapes
    assert bars.x == pytest.approx([5.5 + 2 * i for i in range(23)]) and bars.width == 2
    assert bars.y == pytest.approx([200 / 46] * 23)
    assert (line.x0, line.x1, figure.layout.annotations[0].text) == (5, 5, "CDFSL: 5")


def test_intervals_show_means_and_half_widths():
    figure = figures.intervals({"5-shot": {"digits": (0.9, 0.01)}}, x_title="accuracy")
    (points,) = figure.data
    assert (list(points.x), list(points.y)) == ([0.9], ["digits"])
    assert list(points.error_x.array) == [0.01]


def test_a_wide_grid_is_made_to_fit_the_column():
    images = torch.zeros(60, 3, 8, 8)
    narrow, wide = (figures.image_grid({"a": images[:n]}).layout for n in (5, 60))
    assert narrow.width < wide.width < 840


def test_bands_enclose_their_means_by_the_half_widths():
    x, mean, half = torch.arange(3.0), torch.tensor([0.0, 2.0, 1.0]), torch.ones(3)
    figure = figures.bands({"a": (x, mean, half)}, x_title="t", y_title="gain")
    line, band = figure.data
    assert list(line.y) == [0, 2, 1] and line.showlegend is None
    assert list(band.y) == [1, 3, 2, 0, 1, -1] and list(band.x) == [0, 1, 2, 2, 1, 0]
    assert not band.showlegend and band.fillcolor == line.line.color


def test_panels_stand_left_right_and_below_with_their_own_axes():
    traces = [
        [figures.line(name, k), figures.spots("at", None)] for k, name in enumerate("abc")
    ]
    axes = {"x": ["across", "", {"title": "t"}], "y": ["up", {"range": [0, 1]}, "loss"]}
    figure = figures.panels(*traces, **axes, widths=[0.6, 0.4], height=500)
    assert [trace.xaxis for trace in figure.data] == ["x", "x", "x2", "x2", "x3", "x3"]
    layout = figure.layout
    titles = layout.xaxis.title.text, layout.xaxis3.title.text, layout.yaxis3.title.text
    assert titles == ("across", "t", "loss") and layout.yaxis2.range == (0, 1)
    assert (
        layout.yaxis.domain == (0, 1) and layout.yaxis3.domain[1] < layout.yaxis2.domain[0]
    )
    assert figure.data[1].line.color == figures.GREY and figure.data[1].mode == "markers"
