"""Plotly figures. Arrays in, figure out: nothing is trained, saved or shown here.

Colours are Okabe and Ito's, told apart in every common form of colour blindness; dash and
marker say the same a second time. Places in a plane come from `projection`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import torch
from jaxtyping import Float
from plotly.basedatatypes import BaseTraceType
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots
from torch import Tensor

from ..tasks.episodes import Episode
from . import images

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
GREY = "#8a929a"
Numbers = Tensor | np.ndarray | Sequence
RING = {"size": 13, "symbol": "circle-open", "color": "black", "line": {"width": 3}}
SHARE = {"range": [0, 1], "tickformat": ".0%"}  # of an axis
PLACES = ((1, 1), (1, 2), (2, 2))  # row and column of each panel

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


def line(
    name: str,
    colour: int | str | None,
    x: Numbers = (),
    y: Numbers = (),
    *,
    size: int = 7,
    width: int | float = 2,
    **look: object,
) -> go.Scatter:
    """A trace whose colour, dash and marker are those of a number or name; None is grey.

    Args:
        look: any other property of the trace, e.g. `mode`, `marker_symbol`, `line_dash`.
    """
    line, marker = {"color": colour or GREY, "width": width}, {"color": colour or GREY}
    if isinstance(colour, int):
        k = colour % len(OKABE_ITO)
        line |= {"color": OKABE_ITO[k], "dash": DASHES[k]}
        marker = {"color": OKABE_ITO[k], "symbol": MARKERS[k]}
    look = {"x": plain(x), "y": plain(y), "mode": "lines"} | look
    return go.Scatter(name=name, line=line, marker=marker | {"size": size}, **look)


def spots(
    name: str, colour: int | str | None, x: Numbers = (), y: Numbers = (), **look: object
) -> go.Scatter:
    """The same, of points alone."""
    return line(name, colour, x, y, mode="markers", **look)


def ring(name: str, x: Numbers = (), y: Numbers = (), **look: object) -> go.Scatter:
    """Points with a black ring around them."""
    return go.Scatter(
        name=name, x=plain(x), y=plain(y), mode="markers", marker=RING, **look
    )


def panels(
    *traces: Sequence[BaseTraceType],
    x: Sequence[str | dict],
    y: Sequence[str | dict],
    widths: Sequence[float] | None = None,
    gap: float = 0.14,
    **layout: object,
) -> go.Figure:
    """A panel, another on its right, a third below that: traces and axes of each.

    Args:
        x: title of each horizontal axis, or its properties; `y` the same of the vertical ones.
        gap: between two panels, as a share of the figure.
    """
    n = len(traces)
    cells = [[{"rowspan": 2}, {}], [None, {}]] if n == 3 else [[{}] * n]
    figure = make_subplots(
        rows=len(cells),
        cols=len(cells[0]),
        specs=cells,
        column_widths=widths,
        horizontal_spacing=gap,
        vertical_spacing=0.16,
    )
    for (row, col), group, *axes in zip(PLACES, traces, x, y, strict=False):
        figure.add_traces(list(group), rows=row, cols=col)
        across, up = ({"title": a} if isinstance(a, str) else a for a in axes)
        figure.update_xaxes(across, row=row, col=col)
        figure.update_yaxes(up, row=row, col=col)
    return figure.update_layout(template=TEMPLATE, **layout)


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
    figure = empty()
    for number, (name, (x, y)) in enumerate(curves.items()):
        figure.add_trace(_marked(name, number, x, y))
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
        figure.add_scatter(
            x=array(torch.cat([x, x.flip(0)])),
            y=array(torch.cat([mean + half, (mean - half).flip(0)])),
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
) -> go.Figure:
    """Level lines of a function of two parameters, drawn lightly: paths go on top."""
    figure = empty().add_contour(
        x=array(xs),
        y=array(ys),
        z=array(values),
        name=name,
        ncontours=24,
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
    figure = empty(on)
    number = sum(trace.meta == "path" for trace in figure.data)
    kept = torch.linspace(0, len(path) - 1, min(len(path), MOST_KNOTS)).round().long()
    xs, ys = path[kept].T
    figure.add_trace(_marked(name, number, xs, ys, n=len(path), meta="path"))
    if number == 0:
        figure.add_trace(ring("t = 0", xs[:1], ys[:1], legendrank=2000))  # the last
        if on is None:
            figure.update_layout(xaxis_title="component 1", yaxis_title="component 2")
    return figure


def points_2d(
    groups: Mapping[str, Float[Tensor, " n 2"]],
    *,
    x_title: str = "",
    y_title: str = "",
    first: int = 0,
    on: go.Figure | None = None,
) -> go.Figure:
    """Points by group, each with a colour and a marker of its own, from number `first` on."""
    figure = empty(on)
    for number, (name, points) in enumerate(groups.items(), first):
        xs, ys = array(points.T)
        figure.add_trace(spots(name, number, xs, ys, opacity=0.8))
    if x_title:
        figure.update_layout(xaxis_title=x_title, yaxis_title=y_title)
    return figure


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
    if scale is None:
        extent = points.amax(0) - points.amin(0)
        spacing = (extent.prod() / max(len(points), 1)).sqrt()
        scale = float(spacing / vectors.norm(dim=1).max().clamp(min=1e-30))
    xs, ys = array(strokes(points, vectors * scale).T)
    look = {"width": 1.5, "hoverinfo": "skip"}
    return empty(on).add_trace(line(name, None, xs, ys, **look))


def strokes(tails: Tensor, vectors: Tensor) -> Float[Tensor, " strokes 2"]:
    """Arrows as points of one line: tail, tip, barb, tip, barb; NaN lifts the pen after each."""
    tips = tails + vectors
    across = vectors.flip(1) * vectors.new_tensor([-1.0, 1.0])
    left, right = (tips - 0.3 * vectors + side * across for side in (0.18, -0.18))
    lift = tails.new_full(tails.shape, float("nan"))
    return torch.stack([tails, tips, left, tips, right, lift], dim=1).flatten(0, 1)


def image_grid(
    rows: Mapping[str, Tensor | tuple[Tensor, ...]], *, groups: Sequence[str] = ()
) -> go.Figure:
    """Named rows of images, each row a batch or several batches side by side.

    Args:
        rows: name -> images n x 3 x h x w, or a tuple with such a batch for each group.
        groups: names of the groups, written below them.
    """
    batches = [row if isinstance(row, tuple) else (row,) for row in rows.values()]
    picture, (ys, xs) = images.sheet(batches), images.centres(batches)
    height, width = picture.shape[1:]
    zoom = min(1.5, 780 / width)  # a notebook's column
    left, below = 9 * max(map(len, rows)) + 20, 30 if groups else 10
    plain = {"tickmode": "array", "showline": False, "ticks": "", "showgrid": False}
    columns = {"tickvals": xs[: len(groups)], "ticktext": list(groups)}
    names = {"tickvals": ys, "ticktext": list(rows)}
    return go.Figure(
        images.trace(picture),
        layout={
            "template": TEMPLATE,
            "margin": {"l": left, "r": 10, "t": 10, "b": below},
            "width": zoom * width + left + 10,
            "height": zoom * height + 10 + below,
            "xaxis": plain | columns | {"automargin": False, "range": [0, width]},
            "yaxis": plain | names | {"automargin": False, "range": [height, 0]},
        },
    )


def task(episode: Episode, *, n_query: int = 6) -> go.Figure:
    """Every support image of a few-shot task beside some of its queries, a row per class."""
    seen, asked = episode.support, episode.query
    rows = {
        name: (seen.images[seen.labels == c], asked.images[asked.labels == c][:n_query])
        for c, name in enumerate(episode.classes)
    }
    return image_grid(rows, groups=("support", "query"))


def histograms(
    quantities: Mapping[str, Tensor], *, marks: Mapping[str, float] | None = None
) -> go.Figure:
    """How often each value of a quantity occurs, a panel for each quantity.

    Args:
        quantities: name -> values.
        marks: name -> a value to compare with; one for each quantity, in the same order.
    """
    figure = make_subplots(cols=len(quantities), horizontal_spacing=0.08)
    for column, (quantity, values) in enumerate(quantities.items(), start=1):
        low, high = float(values.min()), float(values.max())
        width = max(1.0, math.ceil((high - low + 1) / 25))
        edges = np.arange(low - 0.5, high + width, width)
        share = 100 * np.histogram(array(values), edges)[0] / len(values)
        look = {"marker_color": OKABE_ITO[0], "showlegend": False, "name": quantity}
        bars = {"x": edges[:-1] + width / 2, "y": share, "width": width}
        figure.add_bar(**bars, **look, row=1, col=column)
        figure.update_xaxes(title=quantity, col=column)
    for column, (name, value) in enumerate((marks or {}).items(), start=1):
        look = {"color": OKABE_ITO[1], "dash": "dash", "width": 2}
        words = {"text": name, "y": 1.0, "yanchor": "bottom", "xanchor": "left"}
        figure.add_vline(value, line=look, annotation=words, row=1, col=column)
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
    figure = empty()
    for number, (name, points) in enumerate(rows.items()):
        means, halves = zip(*points.values(), strict=True)
        bars = {"array": halves, "thickness": 2, "width": 4}
        values = {"x": means, "y": list(points), "error_x": bars}
        figure.add_trace(spots(name, number, size=9, **values))
    counts = Counter(row for points in rows.values() for row in points)
    if max(counts.values()) > 1:
        figure.update_traces(orientation="h").update_layout(scattermode="group")
    figure.update_yaxes(autorange="reversed")
    room = sum(max(24, 13 * n) for n in counts.values())
    return figure.update_layout(xaxis_title=x_title, height=130 + room)


def empty(on: go.Figure | None = None) -> go.Figure:
    """A figure of the course without traces; `on` another one, that one."""
    return go.Figure(layout={"template": TEMPLATE}) if on is None else on


def _marked(
    name: str, number: int, x: Tensor, y: Tensor, *, n: int | None = None, meta: str = ""
) -> go.Scatter:
    """A line with markers, as long as they can be told apart."""
    mode = "lines+markers" if (n or len(x)) <= 60 else "lines"
    look = {"mode": mode, "size": 6} | ({"meta": meta} if meta else {})
    return line(name, number, x, y, **look)


def array(values: Tensor) -> np.ndarray:
    """Numbers as plotly draws them."""
    return torch.as_tensor(values).detach().cpu().float().numpy()


def plain(values: object) -> object:
    """The same of a tensor; anything else as it is."""
    return array(values) if isinstance(values, Tensor) else values
