"""The box around every app: its controls in rows, then its views."""

from collections.abc import Sequence

import ipywidgets as w
import traitlets as tr


def app(
    name: str,
    state: tr.HasTraits,  # noqa: ARG001
    *,
    rows: Sequence[Sequence[w.Widget]],
    views: Sequence[w.Widget],
    seed: int,  # noqa: ARG001
) -> w.VBox:
    """Rows of controls that wrap where they lack room, and below them what the app shows."""
    wrap = {"flex_flow": "row wrap"}
    boxes = [w.HBox(list(row), layout=wrap) for row in rows]
    return w.VBox([*boxes, *views]).add_class(name)
