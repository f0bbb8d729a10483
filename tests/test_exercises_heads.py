"""Right answers of notebook 15 pass, wrong ones do not."""

import torch
from torch.nn import functional as F

from hyperlab import exercises


def test_the_head_of_class_means():
    def head(features):
        c = features.mean(1)
        return torch.cat([c, -c.square().sum(1, keepdim=True) / 2], 1)

    assert exercises.check_mean_head(head).passed
    assert exercises.check_mean_head(lambda x: 2 * head(x) + 1).passed  # the same answers
    for wrong in (
        lambda x: head(x) * torch.tensor([1.0] * x.shape[2] + [0.0]),
        lambda x: head(x)[:, :-1],
        lambda x: -head(x),
        lambda x: ...,
    ):
        assert not exercises.check_mean_head(wrong).passed


def test_heads_chosen_by_the_support():
    def chosen(logits, labels, k):
        n = logits.shape[0]
        rows = F.cross_entropy(logits.flatten(0, 1), labels.repeat(n), reduction="none")
        return rows.view(n, -1).mean(1).topk(k, largest=False).indices

    assert exercises.check_chosen(chosen).passed
    for wrong in (
        lambda x, y, k: chosen(-x, y, k),
        lambda x, y, k: torch.arange(k),
        lambda x, y, k: (x.argmax(2) == y).float().mean(1).topk(k).indices,
    ):
        assert not exercises.check_chosen(wrong).passed
