"""Checks of the answers in notebook 16."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .checking import NotYet, check, expect


@check("what lies behind shows through as much as a pixel lets it.")
def check_on_white(lay: Callable[[Tensor], Tensor]) -> None:
    """`lay(rgba)` -> the three colours on white paper, all numbers in [0, 1] (notebook 16)."""
    g = torch.Generator().manual_seed(16)
    pictures = torch.rand(3, 4, 5, 6, generator=g).double()
    pictures[0, 3], pictures[1, 3] = 0, 1  # nothing to be seen, and nothing of the paper
    hints = (
        "(Alpha is 0 everywhere: only the paper is seen, and it is 1.)",
        "(Alpha is 1 everywhere: nothing of the paper is seen.)",
        "(A pixel of alpha 0.3 shows 0.3 of its colour and 0.7 of the paper.)",
    )
    for rgba, hint in zip(pictures, hints, strict=True):
        colour, alpha = rgba[:3], rgba[3:]
        expect(lay(rgba.clone()), alpha * colour + 1 - alpha, hint)


@check("the order of the module's own parameters cuts the row.")
def check_row_state(cut: Callable[[nn.Module, Tensor], dict[str, Tensor]]) -> None:
    """`cut(module, row)` -> name -> tensor, as `functional_call` takes it (notebook 16)."""
    modules = (nn.Linear(3, 2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2)))
    for module in modules:
        named = dict(module.named_parameters())
        row = torch.arange(sum(p.numel() for p in named.values()), dtype=torch.float32)
        found = cut(module, row.clone())
        if not isinstance(found, dict) or list(found) != list(named):
            raise NotYet(f"found {found!r:.60}, expected a dictionary of {list(named)}.")
        start = 0
        for name, p in named.items():
            hint = f"(Look at {name}: {p.numel()} numbers of shape {tuple(p.shape)}.)"
            expect(found[name], row[start : start + p.numel()].view(p.shape), hint)
            start += p.numel()
