"""Figures of parameter space: bundles of curves, arrows that own up, a choice of pictures.

The coordinates come from `projection`; here they are only drawn.
"""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from .figures import array, empty, line, strokes

LEVELS = 5  # shades of opacity, each a trace


def strands(
    curves: Float[Tensor, " n knots 2"],
    *,
    name: str,
    number: int | None = 0,
    opacity: float = 1.0,
    on: go.Figure | None = None,
) -> go.Figure:
    """A bundle of curves of one kind, as one trace; number None is thin and grey."""
    xs, ys = bundle(curves)
    width = 1 if number is None else 2
    look = {"width": width, "opacity": opacity, "hoverinfo": "skip"}
    return empty(on).add_trace(line(name, number, xs, ys, **look))


def bundle(curves: Float[Tensor, " n knots 2"]) -> np.ndarray:
    """x and y of some curves as one line: the pen is lifted after each."""
    lift = curves.new_full((len(curves), 1, 2), torch.nan)
    return array(torch.cat([curves, lift], 1).flatten(0, 1).T)


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
    figure = empty(on)
    shades = torch.ones(len(tails)) if opacity is None else opacity
    levels = (LEVELS * shades).ceil().int()
    look = {"legendgroup": name, "line_dash": "solid", "hoverinfo": "skip"}
    present = levels[levels > 0].unique().tolist() or [0]
    for level in present:  # where nothing is drawn, the name still stands in the legend
        chosen = (levels == level) & (levels > 0)
        xs, ys = array(strokes(tails[chosen], vectors[chosen]).T)
        shade = {"opacity": max(level, 1) / LEVELS, "showlegend": level == present[-1]}
        figure.add_trace(line(name, number, xs, ys, **look, **shade))
    return figure


def choice(options: Mapping[str, go.Figure]) -> go.Figure:
    """Several figures in one place: buttons below show one at a time, needing no kernel."""
    first, *_ = options
    figure = go.Figure(layout=options[first].layout)
    owners = [name for name, option in options.items() for _ in option.data]
    for option in options.values():
        figure.add_traces(option.data)
    for trace, owner in zip(figure.data, owners, strict=True):
        trace.visible = owner == first
    shown = {name: [owner == name for owner in owners] for name in options}
    buttons = [
        {"label": name, "method": "restyle", "args": ["visible", visible]}
        for name, visible in shown.items()
    ]
    place = {"x": 0, "xanchor": "left", "y": -0.1, "yanchor": "top"}
    menu = {"type": "buttons", "direction": "right", "buttons": buttons, **place}
    return figure.update_layout(updatemenus=[menu], margin={"b": 90})
