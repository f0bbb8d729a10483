"""The picture of the first layer's kernels."""

import torch
from plotly.subplots import make_subplots

from hyperlab.base import stream
from hyperlab.models import cnn
from hyperlab.views import kernels
from hyperlab.weights import recipes


def test_the_kernels_stand_side_by_side():
    net = cnn.cnn_small()
    row = recipes.untrained(net, "kaiming_uniform", stream(0))
    picture = kernels.sheet(net, row)
    assert picture.shape == (2 * 6, 4 * 6)
    assert torch.equal(picture[6:11, 6:11], net.unflatten(row)["conv1.weight"][5, 0])
    assert not picture[5].any() and not picture[:, 5].any()


def test_the_channels_of_a_coloured_kernel_stand_below_one_another():
    net = cnn.cnn_small(channels=3)
    row = recipes.untrained(net, "kaiming_uniform", stream(0))
    picture = kernels.sheet(net, row)
    assert picture.shape == (2 * 3 * 6, 4 * 6)
    for channel in range(3):
        place = picture[18 + 6 * channel :][:5, 6:11]
        assert torch.equal(place, net.unflatten(row)["conv1.weight"][5, channel])


def test_white_is_zero_and_the_picture_is_not_upside_down():
    figure = make_subplots(cols=2)
    picture = torch.arange(4.0).view(2, 2) - 1
    kernels.add(figure, picture, name="kernels", title="here")
    (trace,) = figure.data
    assert trace.zmid == 0 and trace.z.tolist() == picture.tolist()
    assert figure.layout.yaxis2.autorange == "reversed"
    assert figure.layout.xaxis2.title.text.startswith("here")
