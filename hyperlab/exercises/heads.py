"""Checks of the answers in notebook 15."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .checking import check, expect


@check("a linear head that names the nearest class mean.")
def check_mean_head(head: Callable[[Tensor], Tensor]) -> None:
    """`head(features)` of way x shots x dim -> way x (dim + 1): weights, then the bias."""
    generator = torch.Generator().manual_seed(15)
    for way, shots, dim in ((2, 1, 3), (5, 4, 6)):
        features = torch.randn(way, shots, dim, generator=generator)
        queries = torch.randn(50, dim, generator=generator)
        found = head(features.clone())
        hint = (
            f"({way} classes, {shots} shots: expand |f - c|^2 = |f|^2 - 2 f c + |c|^2. Which terms "
            "differ between classes?)"
        )
        if not isinstance(found, Tensor) or found.shape != (way, dim + 1):
            expect(found, torch.full((way, dim + 1), torch.nan), hint)
        nearest = torch.cdist(queries, features.mean(1)).argmin(1)
        named = (queries @ found[:, :-1].T + found[:, -1]).argmax(1)
        expect(named, nearest, hint)


@check("the support chooses; the queries were not asked.")
def check_chosen(chosen: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """`chosen(logits, labels, k)` of heads x images x way -> the k of least loss, in order."""
    generator = torch.Generator().manual_seed(15)
    for heads, images, way, k in ((4, 5, 5, 1), (20, 25, 5, 3)):
        logits = 2 * torch.randn(heads, images, way, generator=generator)
        labels = torch.arange(images) % way
        each = torch.stack([F.cross_entropy(one, labels) for one in logits])
        hint = f"({heads} heads, {images} images: one mean cross-entropy for each head.)"
        expect(chosen(logits.clone(), labels, k), each.argsort()[:k], hint)
