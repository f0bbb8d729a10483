"""Strands, arrows and the choice between pictures draw what they are given."""

import numpy as np
import torch

from hyperlab.base import stream
from hyperlab.views import fields, figures

POINTS = torch.randn(6, 2, generator=stream(0, "fields"))


def test_a_bundle_is_one_trace_with_the_pen_lifted_between_curves():
    curves = POINTS.view(2, 3, 2)
    (trace,) = fields.strands(curves, name="paths").data
    assert np.isnan(trace.x).nonzero()[0].tolist() == [3, 7]
    np.testing.assert_array_equal(trace.y[4:7], curves[1, :, 1].numpy())


def test_arrows_fade_with_their_opacity_and_vanish_at_none():
    opacity = torch.tensor([0.0, 0.1, 0.15, 0.5, 0.9, 1.0])
    traces = fields.arrows(POINTS, POINTS, name="drift", opacity=opacity).data
    assert [trace.opacity for trace in traces] == [0.2, 0.6, 1.0]
    tails = [sum(np.isnan(trace.x)) for trace in traces]
    assert tails == [2, 1, 2] and sum(trace.showlegend for trace in traces) == 1
    (nothing,) = fields.arrows(POINTS, POINTS, name="none", opacity=0 * opacity).data
    assert len(nothing.x) == 0 and nothing.showlegend


def test_a_choice_shows_one_figure_at_a_time():
    options = {
        "seed 0": figures.points_2d({"a": POINTS, "b": POINTS}),
        "seed 1": figures.points_2d({"a": -POINTS}),
    }
    figure = fields.choice(options)
    assert [trace.visible for trace in figure.data] == [True, True, False]
    (menu,) = figure.layout.updatemenus
    assert [b.label for b in menu.buttons] == ["seed 0", "seed 1"]
    assert list(menu.buttons[1].args[1]) == [False, False, True]
