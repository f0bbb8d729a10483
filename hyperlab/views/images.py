"""Images side by side on one sheet of pixels, kernels too, and a sheet as a file inside a page."""

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError
from ..models.cnn import Architecture

Images = Float[Tensor, " _ 3 _ _"]
FRAME = (0xD5 / 255, 0x5E / 255, 0.0)  # Okabe and Ito's vermillion
MARGIN = 2  # pixels around every image
QUALITY = 80  # of a hundred
GAP = 8  # pixels between two groups
KERNELS = 4  # in a row


def strip(
    images: Images,
    *,
    n: int | None = None,
    framed: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, " 3 height width"]:
    """Images from left to right on white paper, as wide as for `n` of them.

    Args:
        framed: those that get a coloured frame.
    """
    cells = F.pad(images, (MARGIN,) * 4, value=1.0)
    if framed is not None:
        edge = F.pad(torch.zeros_like(images), (MARGIN,) * 4, value=1.0) > 0
        colour = images.new_tensor(FRAME)[:, None, None]
        cells = torch.where(edge & framed[:, None, None, None], colour, cells)
    blank = cells.new_ones(max(0, (n or 0) - len(cells)), *cells.shape[1:])
    return torch.cat([*cells, *blank], dim=-1)


def sheet(rows: Sequence[Sequence[Images]]) -> Float[Tensor, " 3 height width"]:
    """Rows of groups of images; group g of every row begins at the same place.

    Raises:
        ConfigError: if there is no row, rows differ in their groups, or images in size.
    """
    if not rows or len({len(row) for row in rows}) > 1 or not rows[0]:
        raise ConfigError(f"rows need the same groups, got {[len(row) for row in rows]}")
    if len(sizes := {tuple(group.shape[1:]) for row in rows for group in row}) > 1:
        raise ConfigError(f"the images of a sheet have one size, got {sorted(sizes)}")
    widths = [max(map(len, groups)) for groups in zip(*rows, strict=True)]
    return torch.cat([_row(row, widths) for row in rows], dim=1)


def _row(row: Sequence[Images], widths: Sequence[int]) -> Tensor:
    parts: list[Tensor] = []
    for images, n in zip(row, widths, strict=True):
        parts.append(strip(images, n=n))
        parts.append(parts[-1].new_ones(3, parts[-1].shape[1], GAP))
    return torch.cat(parts[:-1], dim=-1)


def centres(rows: Sequence[Sequence[Images]]) -> tuple[list[float], list[float]]:
    """Where on their sheet the rows (from above) and the groups (from the left) are centred."""
    tall, wide = (side + 2 * MARGIN for side in rows[0][0].shape[-2:])
    widths = [max(map(len, groups)) * wide for groups in zip(*rows, strict=True)]
    across = [sum(widths[:g]) + g * GAP + width / 2 for g, width in enumerate(widths)]
    return [(i + 0.5) * tall for i in range(len(rows))], across


def pixels(picture: Float[Tensor, " 3 h w"]) -> UInt8[np.ndarray, " h w 3"]:
    """The picture as bytes."""
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


def data_uri(picture: Float[Tensor, " 3 h w"], *, lossless: bool = False) -> str:
    """The picture inside an address, for figures and HTML: as WebP, a sixth of a PNG of noise.

    Args:
        lossless: pixels that stay as they were from picture to picture are the same, as a film
            needs them.
    """
    file = io.BytesIO()
    options = {"lossless": lossless, "quality": QUALITY}
    Image.fromarray(pixels(picture)).save(file, format="webp", **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def html_image(picture: Float[Tensor, " 3 h w"], words: str, *, style: str = "") -> str:
    """The picture as an element of a page; `words` for who does not see it."""
    style, source = f"max-width:none;{style}", data_uri(picture)
    return f'<img style="{style}" alt="{html.escape(words)}" src="{source}">'


def trace(picture: Float[Tensor, " 3 h w"], *, lossless: bool = False) -> go.Image:
    """The picture in a figure, from 0 to w and from 0 to h; a browser smooths it where enlarged."""
    place = {"x0": 0.5, "y0": 0.5, "zsmooth": "fast", "hoverinfo": "skip"}
    return go.Image(source=data_uri(picture, lossless=lossless), **place)


def kernels(
    architecture: Architecture, row: Float[Tensor, " params"]
) -> Float[Tensor, " height width"]:
    """The first layer's kernels of a network side by side, zeros between them.

    Of coloured images each kernel's channels stand below one another.
    """
    name = next(iter(architecture.shapes))
    cells = F.pad(architecture.unflatten(row.detach())[name], (0, 1, 0, 1))
    rows = [torch.cat([*four], 2).flatten(0, 1) for four in cells.split(KERNELS)]
    return torch.cat(rows)


def kernel_panel(
    picture: Float[Tensor, " height width"], *, name: str, title: str
) -> tuple[go.Heatmap, dict[str, object], dict[str, object]]:
    """Kernels as a figure's second panel: the trace and both axes."""
    words = "weight %{z:.2f}<extra></extra>"
    look = {"colorscale": "RdBu", "zmid": 0, "showscale": False, "hovertemplate": words}
    plain = {"visible": True, "showticklabels": False, "showgrid": False, "ticks": ""}
    plain |= {"showline": False, "constrain": "domain"}
    x = plain | {"title": f"{title}<br>(blue: positive, red: negative)"}
    y = plain | {"autorange": "reversed", "scaleanchor": "x2"}
    return go.Heatmap(z=picture.numpy(), name=name, **look), x, y
