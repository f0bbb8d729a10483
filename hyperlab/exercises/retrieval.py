"""Checks of the answers in notebook 13."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..base import stream
from .checking import NotYet, check, expect


@check("the same angle between any two: no label is nearer to one than to another.")
def check_label_vectors(label_vectors: Callable[[int], Tensor]) -> None:
    """`label_vectors(n)` -> n rows of length 1, each two with the same inner product, sum 0."""
    for n in (2, 3, 10):
        found = label_vectors(n)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != n:
            raise NotYet(f"found {found!r:.40}, expected a tensor of {n} rows.")
        inner = found.double() @ found.double().T
        right = torch.full((n, n), -1 / (n - 1), dtype=torch.float64).fill_diagonal_(1)
        hint = (
            f"(Inner products for n = {n}: 1 with itself, -1 / {n - 1} with every other. Take "
            "the mean row off the identity, then make the rows 1 long.)"
        )
        if not torch.allclose(inner, right, atol=1e-5):
            expect(inner, right, hint)


@check("the order of the images is forgotten, that of the classes is kept.")
def check_set_vector(set_vector: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """`set_vector(features, labels, n_classes)` -> class means, side by side in label order."""
    g = stream(13, "set vector")
    for n_classes, n in ((2, 5), (4, 12)):
        features = torch.randn(n, 3, generator=g)
        labels = (torch.arange(n) % n_classes)[torch.randperm(n, generator=g)]
        means = [features[labels == c].mean(0) for c in range(n_classes)]
        hint = (
            f"({n_classes} classes: the mean feature of class 0, then that of class 1, ..., as "
            "one vector.)"
        )
        expect(set_vector(features, labels, n_classes), torch.cat(means), hint)


@check("what the shown images gain over those of other data sets.")
def check_diagonal(diagonal: Callable[[Mapping[str, Mapping[str, float]]], float]) -> None:
    """`diagonal(matrix)` -> mean accuracy on the own data set minus that on the others."""
    for matrix in (
        {"a": {"a": 0.9, "b": 0.1}, "b": {"a": 0.3, "b": 0.7}},
        {
            "a": {"a": 0.8, "b": 0.2, "c": 0.1},
            "b": {"a": 0.1, "b": 0.6, "c": 0.3},
            "c": {"a": 0.2, "b": 0.0, "c": 0.4},
        },
    ):
        own = [matrix[name][name] for name in matrix]
        rest = [x for name, row in matrix.items() for at, x in row.items() if at != name]
        right = sum(own) / len(own) - sum(rest) / len(rest)
        hint = f"({len(matrix)} data sets: mean of {len(own)} entries minus that of {len(rest)}.)"
        expect(diagonal(matrix), right, hint)
