"""Plotly figures. Arrays in, figure out: nothing is trained, saved or shown here.

Colours are Okabe and Ito's, told apart in every common form of colour blindness; dash and
marker say the same a second time.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import torch
from jaxtyping import Float
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots
from torch import Tensor

from ..tasks.episodes import Episode
from . import sheets

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
GREY = "#8a929a"

# As wide as its place; without the button that uploads the figure.
CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["sendChartToCloud"],
    "responsive": True,
}

MOST_KNOTS = 1000  # more are less than a pixel apart, and make the notebook large

_AXIS = {
    "showline": True,
    "linecolor": GREY,
    "ticks": "outside",
    "gridcolor": "#eceff2",
    "exponentformat": "power",
    "title": {"standoff": 8},  # beside the labels, however wide they are
}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": OKABE_ITO,
        "font": {"family": "sans-serif", "size": 14, "color": "#222222"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS | {"zeroline": False, "automargin": True},
        "yaxis": _AXIS | {"zeroline": False, "automargin": True},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        "margin": {"l": 70, "r": 20, "t": 60, "b": 60},
        "height": 440,
        "hovermode": "closest",
    }
)

for _renderer in ("plotly_mimetype", "notebook", "notebook_connected"):
    pio.renderers[_renderer].config.update(CONFIG)


def plotly_js() -> str:
    """The library that draws figures in a browser, for pages that keep a copy beside them."""
    return get_plotlyjs()


class Live(go.FigureWidget):
    """A figure widget that does not ask what plotly.js fills in: nothing here wants to know.

    To hear it after every drawing would cost the kernel time in every run.
    """

    def _handler_js2py_traceDeltas(self, change: dict) -> None:  # noqa: N802
        """Takes the place of an observer of `go.FigureWidget`."""


def live(figure: go.Figure) -> go.FigureWidget:
    """The figure as a widget that redraws when its traces change (5 MB each, so few)."""
    widget = Live(figure)
    widget._config = widget._config | CONFIG
    return widget


def lines(
    curves: Mapping[str, tuple[Tensor, Tensor]],
    *,
    x_title: str,
    y_title: str,
    log: str = "",
) -> go.Figure:
    """Curves y(x), one for each name.

    Args:
        curves: name -> (x, y), one-dimensional and equally long.
        log: the axes with a logarithmic scale: "", "x", "y" or "xy".
    """
    figure = go.Figure(layout={"template": TEMPLATE})
    for number, (name, (x, y)) in enumerate(curves.items()):
        figure.add_scatter(x=_array(x), y=_array(y), name=name, **_look(number, len(x)))
    for axis, title in (("x", x_title), ("y", y_title)):
        kind = "log" if axis in log else "linear"
        figure.update_layout({f"{axis}axis": {"title": title, "type": kind}})
    return figure.update_layout(hovermode="x unified")


def bands(
    curves: Mapping[str, tuple[Tensor, Tensor, Tensor]], *, x_title: str, y_title: str
) -> go.Figure:
    """Means y(x), each in the band of its interval; where there is none, no band.

    Args:
        curves: name -> (x, mean, half width of the interval, or not a number).
    """
    means = {name: (x, mean) for name, (x, mean, _) in curves.items()}
    figure = lines(means, x_title=x_title, y_title=y_title)
    for number, (name, (x, mean, half)) in enumerate(curves.items()):
        x, mean, half = (part[half.isfinite()] for part in (x, mean, half))
        outline = _array(torch.cat([mean + half, (mean - half).flip(0)]))
        figure.add_scatter(
            x=_array(torch.cat([x, x.flip(0)])),
            y=outline,
            name=name,
            fill="toself",
            fillcolor=OKABE_ITO[number % len(OKABE_ITO)],
            opacity=0.15,
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            showlegend=False,
        )
    return figure


def landscape(
    xs: Float[Tensor, " nx"],
    ys: Float[Tensor, " ny"],
    values: Float[Tensor, " ny nx"],
    *,
    name: str = "loss",
    n_levels: int = 24,
) -> go.Figure:
    """Level lines of a function of two parameters, drawn lightly: paths go on top."""
    figure = go.Figure(layout={"template": TEMPLATE})
    figure.add_contour(
        x=_array(xs),
        y=_array(ys),
        z=_array(values),
        name=name,
        ncontours=n_levels,
        colorscale=[[0, "#ffffff"], [1, "#ccd6df"]],
        line={"color": "#aeb8c1", "width": 1},
        colorbar={"title": name, "thickness": 12},
        hovertemplate=name + " %{z:.3g} at (%{x:.3g}, %{y:.3g})<extra></extra>",
    )
    return figure.update_layout(xaxis_title="parameter 1", yaxis_title="parameter 2")


def path_2d(
    path: Float[Tensor, " steps 2"], *, name: str = "path", on: go.Figure | None = None
) -> go.Figure:
    """A trajectory in a plane, its start marked; `on` a figure it is added to that one.

    Of a long one `MOST_KNOTS` points are drawn, its first and last among them.
    """
    figure = on if on is not None else go.Figure(layout={"template": TEMPLATE})
    number = sum(trace.meta == "path" for trace in figure.data)
    kept = torch.linspace(0, len(path) - 1, min(len(path), MOST_KNOTS)).round().long()
    xs, ys = _array(path[kept].T)
    look = _look(number, len(path))
    figure.add_scatter(x=xs, y=ys, name=name, meta="path", **look)
    if number == 0:
        start = {
            "size": 13,
            "symbol": "circle-open",
            "color": "black",
            "line": {"width": 3},
        }
        figure.add_scatter(x=xs[:1], y=ys[:1], name="t = 0", mode="markers", marker=start)
        figure.data[-1].legendrank = 2000  # after all paths
        if on is None:
            figure.update_layout(xaxis_title="component 1", yaxis_title="component 2")
    return figure


def points_2d(
    groups: Mapping[str, Float[Tensor, " n 2"]], *, x_title: str, y_title: str
) -> go.Figure:
    """Points in a plane, each group in a colour and marker of its own."""
    figure = go.Figure(layout={"template": TEMPLATE})
    for number, (name, points) in enumerate(groups.items()):
        xs, ys = _array(points.T)
        look = _look(number, len(points)) | {"mode": "markers"}
        figure.add_scatter(x=xs, y=ys, name=name, opacity=0.7, **look)
    return figure.update_layout(xaxis_title=x_title, yaxis_title=y_title)


def vector_field(
    points: Float[Tensor, " n 2"],
    vectors: Float[Tensor, " n 2"],
    *,
    name: str = "velocity",
    scale: float | None = None,
    on: go.Figure | None = None,
) -> go.Figure:
    """An arrow at each point, all with the same scale.

    Args:
        scale: length drawn for a vector of length 1; by default the longest arrow reaches as
            far as the next point of an even grid.
    """
    figure = on if on is not None else go.Figure(layout={"template": TEMPLATE})
    if scale is None:
        extent = points.amax(0) - points.amin(0)
        spacing = (extent.prod() / max(len(points), 1)).sqrt()
        scale = float(spacing / vectors.norm(dim=1).max().clamp(min=1e-30))
    xs, ys = _array(strokes(points, vectors * scale).T)
    figure.add_scatter(x=xs, y=ys, name=name, mode="lines", hoverinfo="skip")
    return figure.update_traces(line={"color": GREY, "width": 1.5}, selector={"name": name})


def image_grid(
    rows: Mapping[str, Tensor | tuple[Tensor, ...]], *, groups: Sequence[str] = ()
) -> go.Figure:
    """Named rows of images, each row a batch or several batches side by side.

    Args:
        rows: name -> images n x 3 x h x w, or a tuple with such a batch for each group.
        groups: names of the groups, written below them.
    """
    batches = [row if isinstance(row, tuple) else (row,) for row in rows.values()]
    picture, (ys, xs) = sheets.sheet(batches), sheets.centres(batches)
    height, width = picture.shape[1:]
    zoom = min(1.5, 780 / width)  # a notebook's column
    margin = {
        "l": 9 * max(map(len, rows)) + 20,
        "r": 10,
        "t": 10,
        "b": 30 if groups else 10,
    }
    plain = {"tickmode": "array", "showline": False, "ticks": "", "showgrid": False}
    columns = {"tickvals": xs[: len(groups)], "ticktext": list(groups)}
    names = {"tickvals": ys, "ticktext": list(rows)}
    return go.Figure(
        sheets.trace(picture),
        layout={
            "template": TEMPLATE,
            "margin": margin,
            "width": zoom * width + margin["l"] + margin["r"],
            "height": zoom * height + margin["t"] + margin["b"],
            "xaxis": plain | columns | {"automargin": False, "range": [0, width]},
            "yaxis": plain | names | {"automargin": False, "range": [height, 0]},
        },
    )


def task(episode: Episode, *, n_query: int = 6) -> go.Figure:
    """Every support image of a few-shot task beside some of its queries, a row per class."""
    rows = {}
    for number, name in enumerate(episode.classes):
        seen, asked = (
            p.images[p.labels == number] for p in (episode.support, episode.query)
        )
        rows[name] = (seen, asked[:n_query])
    return image_grid(rows, groups=("support", "query"))


def histograms(
    panels: Mapping[str, Tensor],
    *,
    marks: Mapping[str, float] | None = None,
    n_bins: int = 25,
) -> go.Figure:
    """How often each value of a quantity occurs, a panel for each quantity.

    Args:
        panels: quantity -> values.
        marks: name -> a value to compare with; one for each panel, in the same order.
    """
    figure = make_subplots(cols=len(panels), horizontal_spacing=0.08)
    for column, (quantity, values) in enumerate(panels.items(), start=1):
        low, high = float(values.min()), float(values.max())
        width = max(1.0, math.ceil((high - low + 1) / n_bins))
        edges = np.arange(low - 0.5, high + width, width)
        share = 100 * np.histogram(_array(values), edges)[0] / len(values)
        look = {"marker": {"color": OKABE_ITO[0]}, "showlegend": False, "name": quantity}
        bars = go.Bar(x=edges[:-1] + width / 2, y=share, width=width, **look)
        figure.add_trace(bars, row=1, col=column)
        figure.update_xaxes(title=quantity, col=column)
    for column, (name, value) in enumerate((marks or {}).items(), start=1):
        line = {"color": OKABE_ITO[1], "dash": "dash", "width": 2}
        words = {"text": name, "y": 1.0, "yanchor": "bottom", "xanchor": "left"}
        figure.add_vline(value, line=line, annotation=words, row=1, col=column)
    figure.update_yaxes(title="% of draws", col=1)
    return figure.update_layout(template=TEMPLATE, height=340)


def intervals(
    rows: Mapping[str, Mapping[str, tuple[float, float]]], *, x_title: str
) -> go.Figure:
    """Means with their intervals: a line of the plot per row, a colour and marker per series.

    Series that share a row lie side by side in it.

    Args:
        rows: series -> row -> (mean, half width of the interval; not a number draws none).
    """
    figure = go.Figure(layout={"template": TEMPLATE})
    for number, (name, points) in enumerate(rows.items()):
        means, halves = zip(*points.values(), strict=True)
        look = {"color": OKABE_ITO[number], "symbol": MARKERS[number], "size": 9}
        bars = {"array": halves, "thickness": 2, "width": 4}
        y = list(points)
        figure.add_scatter(
            x=means, y=y, error_x=bars, marker=look, name=name, mode="markers"
        )
    counts = Counter(row for points in rows.values() for row in points)
    if max(counts.values()) > 1:
        figure.update_traces(orientation="h").update_layout(scattermode="group")
    figure.update_yaxes(autorange="reversed")
    room = sum(max(24, 13 * n) for n in counts.values())
    return figure.update_layout(xaxis_title=x_title, height=130 + room)


def strokes(tails: Tensor, vectors: Tensor) -> Float[Tensor, " strokes 2"]:
    """Arrows as points of one line: tail, tip, barb, tip, barb; NaN lifts the pen after each."""
    tips = tails + vectors
    across = vectors.flip(1) * vectors.new_tensor([-1.0, 1.0])
    left, right = (tips - 0.3 * vectors + side * across for side in (0.18, -0.18))
    lift = tails.new_full(tails.shape, float("nan"))
    return torch.stack([tails, tips, left, tips, right, lift], dim=1).flatten(0, 1)


def _look(number: int, n_points: int) -> dict[str, object]:
    # Markers as long as they can be told apart.
    number %= len(OKABE_ITO)
    return {
        "mode": "lines+markers" if n_points <= 60 else "lines",
        "line": {"color": OKABE_ITO[number], "dash": DASHES[number], "width": 2},
        "marker": {"color": OKABE_ITO[number], "symbol": MARKERS[number], "size": 6},
    }


def _array(values: Tensor) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().float().numpy()
