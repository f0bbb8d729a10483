"""Figures of parameter space: clouds of points, bundles of curves, arrows that own up.

The coordinates come from `projection`; here they are only drawn.
"""

from collections.abc import Mapping

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from .figures import DASHES, GREY, MARKERS, OKABE_ITO, TEMPLATE, strokes

LEVELS = 5  # shades of opacity, each a trace


def cloud(
    groups: Mapping[str, Float[Tensor, " n 2"]],
    *,
    first: int = 0,
    on: go.Figure | None = None,
) -> go.Figure:
    """Points by group, each with a colour and a marker of its own, from number `first` on."""
    figure = _figure(on)
    for number, (name, points) in enumerate(groups.items(), first):
        look = {"color": _of(OKABE_ITO, number), "symbol": _of(MARKERS, number), "size": 7}
        xs, ys = points.T.numpy()
        figure.add_scatter(x=xs, y=ys, name=name, mode="markers", marker=look, opacity=0.8)
    return figure


def strands(
    curves: Float[Tensor, " n knots 2"],
    *,
    name: str,
    number: int | None = 0,
    opacity: float = 1.0,
    on: go.Figure | None = None,
) -> go.Figure:
    """A bundle of curves of one kind, as one trace; number None is thin and grey."""
    lift = curves.new_full((len(curves), 1, 2), torch.nan)
    xs, ys = torch.cat([curves, lift], 1).flatten(0, 1).T.numpy()
    line = {"color": GREY, "width": 1}
    if number is not None:
        line = {"color": _of(OKABE_ITO, number), "dash": _of(DASHES, number), "width": 2}
    return _figure(on).add_scatter(
        x=xs, y=ys, name=name, mode="lines", line=line, opacity=opacity, hoverinfo="skip"
    )


def arrows(
    tails: Float[Tensor, " n 2"],
    vectors: Float[Tensor, " n 2"],
    *,
    name: str,
    number: int = 0,
    opacity: Float[Tensor, " n"] | None = None,
    on: go.Figure | None = None,
) -> go.Figure:
    """Arrows as long as they are given, one trace for each shade.

    Args:
        opacity: of each arrow, e.g. `TangentArrows.opacity()`; those with 0 are not drawn.
    """
    figure = _figure(on)
    shades = torch.ones(len(tails)) if opacity is None else opacity
    levels = (LEVELS * shades).ceil().int()
    line = {"color": _of(OKABE_ITO, number), "width": 2}
    present = levels[levels > 0].unique().tolist() or [0]
    for level in present:  # where nothing is drawn, the name still stands in the legend
        chosen = (levels == level) & (levels > 0)
        xs, ys = strokes(tails[chosen], vectors[chosen]).T.numpy()
        told = {"legendgroup": name, "showlegend": level == present[-1]}
        shade = max(level, 1) / LEVELS
        figure.add_scatter(
            x=xs, y=ys, name=name, mode="lines", line=line, opacity=shade, **told
        )
    return figure


def choice(options: Mapping[str, go.Figure]) -> go.Figure:
    """Several figures in one place: buttons below show one at a time, needing no kernel."""
    first, *_ = options.values()
    figure = go.Figure(layout=first.layout)
    owners = [name for name, option in options.items() for _ in option.data]
    for option in options.values():
        figure.add_traces(option.data)
    for trace, owner in zip(figure.data, owners, strict=True):
        trace.visible = owner == owners[0]
    buttons = [
        {
            "label": name,
            "method": "restyle",
            "args": ["visible", [o == name for o in owners]],
        }
        for name in options
    ]
    place = {"x": 0, "xanchor": "left", "y": -0.1, "yanchor": "top"}
    menu = {"type": "buttons", "direction": "right", "buttons": buttons, **place}
    return figure.update_layout(updatemenus=[menu], margin={"b": 90})


def _figure(on: go.Figure | None) -> go.Figure:
    return on if on is not None else go.Figure(layout={"template": TEMPLATE})


def _of(looks: tuple[str, ...], number: int) -> str:
    return looks[number % len(looks)]
