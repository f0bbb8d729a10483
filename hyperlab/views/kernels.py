"""What the first layer of a network looks for, as a picture."""

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from ..models.cnn import Architecture

COLUMNS = 4  # kernels in a row of the picture


def sheet(
    architecture: Architecture, row: Float[Tensor, " params"]
) -> Float[Tensor, " height width"]:
    """The first layer's kernels side by side, zeros between them.

    Of coloured images each kernel's channels stand below one another.
    """
    name = next(iter(architecture.shapes))
    kernels = architecture.unflatten(row.detach())[name]
    cells = torch.nn.functional.pad(kernels, (0, 1, 0, 1))
    rows = [torch.cat([*some], 2).flatten(0, 1) for some in cells.split(COLUMNS)]
    return torch.cat(rows)


def add(
    figure: go.Figure, picture: Float[Tensor, " height width"], *, name: str, title: str
) -> go.Figure:
    """Such a picture in a figure's second panel (top row, second column)."""
    figure.add_heatmap(
        z=picture.numpy(),
        name=name,
        colorscale="RdBu",
        zmid=0,
        showscale=False,
        hovertemplate="weight %{z:.2f}<extra></extra>",
        row=1,
        col=2,
    )
    plain = {"visible": True, "showticklabels": False, "showgrid": False, "ticks": ""}
    plain |= {"showline": False, "constrain": "domain"}
    words = f"{title}<br>(blue: positive, red: negative)"
    figure.update_xaxes(title=words, **plain, row=1, col=2)
    plain |= {"autorange": "reversed", "scaleanchor": "x2"}
    return figure.update_yaxes(**plain, row=1, col=2)
