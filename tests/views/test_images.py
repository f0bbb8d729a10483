"""Every image stands on its sheet where it should, and the PNG holds the same bytes."""

import base64
import io

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from hyperlab.base import ConfigError, stream
from hyperlab.models import cnn
from hyperlab.views import images
from hyperlab.weights import recipes

GREY = torch.full((3, 3, 4, 4), 0.2)  # three images of 4 x 4 pixels


def test_images_stand_around_the_centres_of_their_cells():
    picture = images.sheet([[GREY[:1], GREY], [GREY, GREY[:2]]])
    rows, groups = images.centres([[GREY[:1], GREY], [GREY, GREY[:2]]])
    for y in rows:
        assert picture[0, int(y), int(groups[1])] == pytest.approx(0.2)
    assert picture[0, int(rows[1]), int(groups[0])] == pytest.approx(0.2)
    assert picture[0, int(rows[0]), int(groups[0])] == 1  # white: one image of three


def test_a_framed_image_differs_at_its_edge_alone():
    plain = images.strip(GREY[:2])
    framed = images.strip(GREY[:2], framed=torch.tensor([False, True]))
    changed = (plain != framed).any(0)
    assert not changed[:, :8].any() and changed[0, 8:].all()
    assert not changed[2:6, 10:14].any()


def test_a_sheet_survives_its_compression():
    shades = torch.linspace(0, 1, 40).expand(3, 30, 40)
    head, data = images.data_uri(shades).split(",")
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    assert head == "data:image/webp;base64" and found.shape == (30, 40, 3)
    assert abs(found.astype(int) - images.pixels(shades)).max() < 12


def test_a_sheet_in_a_figure_lies_between_nought_and_its_size():
    (image,) = go.Figure(images.trace(torch.zeros(3, 5, 7))).data
    assert (image.x0, image.y0, image.dx, image.dy) == (0.5, 0.5, None, None)


@pytest.mark.parametrize("rows", [[], [[GREY], [GREY, GREY]], [[GREY], [GREY[..., 1:]]]])
def test_rows_that_do_not_fit_together_are_refused(rows):
    with pytest.raises(ConfigError):
        images.sheet(rows)


def test_the_kernels_stand_side_by_side():
    net = cnn.cnn_small()
    row = recipes.untrained(net, "kaiming_uniform", stream(0))
    picture = images.kernels(net, row)
    assert picture.shape == (2 * 6, 4 * 6)
    assert torch.equal(picture[6:11, 6:11], net.unflatten(row)["conv1.weight"][5, 0])
    assert not picture[5].any() and not picture[:, 5].any()


def test_the_channels_of_a_coloured_kernel_stand_below_one_another():
    net = cnn.cnn_small(channels=3)
    row = recipes.untrained(net, "kaiming_uniform", stream(0))
    picture = images.kernels(net, row)
    assert picture.shape == (2 * 3 * 6, 4 * 6)
    for channel in range(3):
        place = picture[18 + 6 * channel :][:5, 6:11]
        assert torch.equal(place, net.unflatten(row)["conv1.weight"][5, channel])


def test_white_is_zero_and_the_picture_is_not_upside_down():
    picture = torch.arange(4.0).view(2, 2) - 1
    trace, x, y = images.kernel_panel(picture, name="kernels", title="first layer")
    assert trace.zmid == 0 and trace.z.tolist() == picture.tolist()
    assert y["autorange"] == "reversed" and x["title"].startswith("first layer")
