"""The checks of notebook 16 pass the right answer alone."""

import torch

from hyperlab import exercises


def test_transparent_pixels_show_the_paper():
    right = lambda x: x[3] * x[:3] + (1 - x[3])
    assert exercises.check_on_white(right).passed
    for wrong in (
        lambda x: x[:3],
        lambda x: x[3] * x[:3],
        lambda x: x[3] + (1 - x[3]) * x[:3],
        lambda x: ...,
    ):
        assert not exercises.check_on_white(wrong).passed


def cut(module, row):
    named = dict(module.named_parameters())
    parts = row.split([p.numel() for p in named.values()])
    return {n: x.view(p.shape) for (n, p), x in zip(named.items(), parts, strict=True)}


def test_a_row_is_cut_in_the_order_of_the_parameters():
    assert exercises.check_row_state(cut).passed
    backwards = lambda module, row: cut(module, row.flip(0))
    flat = lambda module, row: {n: x.flatten() for n, x in cut(module, row).items()}
    first = lambda module, row: {"weight": row[:6].view(2, 3)}
    for wrong in (backwards, flat, first, lambda module, row: ...):
        assert not exercises.check_row_state(wrong).passed


def test_the_order_of_the_parameters_is_that_of_functional_call():
    module = torch.nn.Linear(3, 2)
    x, row = torch.ones(1, 3), torch.arange(8.0)
    said = torch.func.functional_call(module, cut(module, row), (x,))
    assert said.tolist() == [[3.0 + 6.0, 12.0 + 7.0]]
