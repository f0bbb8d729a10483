"""Every image stands on its sheet where it should, and the PNG holds the same bytes."""

import base64
import io

import numpy as np
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


def test_a_sheet_survives_its_png():
    picture = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    head, data = sheets.data_uri(picture, zoom=2).split(",")
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert head == "data:image/png;base64"
    assert np.array_equal(found, sheets.pixels(picture, zoom=2))
    assert found.shape == (10, 14, 3)
    assert np.array_equal(found[::2, ::2], sheets.pixels(picture))


@pytest.mark.parametrize("rows", [[], [[GREY], [GREY, GREY]], [[GREY], [GREY[..., 1:]]]])
def test_rows_that_do_not_fit_together_are_refused(rows):
    with pytest.raises(ConfigError):
        sheets.sheet(rows)
