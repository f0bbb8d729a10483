"""Every image stands on its sheet where it should, and the PNG holds the same bytes."""

import base64
import io

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from hyperlab.base import ConfigError
from hyperlab.views import sheets

GREY = torch.full((3, 3, 4, 4), 0.2)  # three images of 4 x 4 pixels


def test_images_stand_around_the_centres_of_their_cells():
    picture = sheets.sheet([[GREY[:1], GREY], [GREY, GREY[:2]]])
    rows, groups = sheets.centres([[GREY[:1], GREY], [GREY, GREY[:2]]])
    for y in rows:
        assert picture[0, int(y), int(groups[1])] == pytest.approx(0.2)
    assert picture[0, int(rows[1]), int(groups[0])] == pytest.approx(0.2)
    assert picture[0, int(rows[0]), int(groups[0])] == 1  # white: one image of three


def test_a_framed_image_differs_at_its_edge_alone():
    plain = sheets.strip(GREY[:2])
    framed = sheets.strip(GREY[:2], framed=torch.tensor([False, True]))
    changed = (plain != framed).any(0)
    assert not changed[:, :8].any() and changed[0, 8:].all()
    assert not changed[2:6, 10:14].any()


def test_a_sheet_survives_its_compression():
    shades = torch.linspace(0, 1, 40).expand(3, 30, 40)
    head, data = sheets.data_uri(shades).split(",")
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    assert head == "data:image/webp;base64" and found.shape == (30, 40, 3)
    assert abs(found.astype(int) - sheets.pixels(shades)).max() < 12


def test_a_sheet_in_a_figure_lies_between_nought_and_its_size():
    (image,) = go.Figure(sheets.trace(torch.zeros(3, 5, 7))).data
    assert (image.x0, image.y0, image.dx, image.dy) == (0.5, 0.5, None, None)


@pytest.mark.parametrize("rows", [[], [[GREY], [GREY, GREY]], [[GREY], [GREY[..., 1:]]]])
def test_rows_that_do_not_fit_together_are_refused(rows):
    with pytest.raises(ConfigError):
        sheets.sheet(rows)
