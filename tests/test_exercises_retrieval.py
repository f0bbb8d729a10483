"""The checks of notebook 13 pass right answers, and say what is wrong with others."""

import pytest
import torch
from torch.nn import functional as F

from hyperlab import exercises


def label_vectors(n):
    return F.normalize(torch.eye(n) - 1 / n)


def set_vector(features, labels, n_classes):
    return torch.cat([features[labels == c].mean(0) for c in range(n_classes)])


def diagonal(matrix):
    own = [matrix[name][name] for name in matrix]
    rest = [x for name, row in matrix.items() for at, x in row.items() if at != name]
    return sum(own) / len(own) - sum(rest) / len(rest)


@pytest.mark.parametrize("answer", [label_vectors, set_vector, diagonal])
def test_right_answers_pass(answer):
    verdict = getattr(exercises, f"check_{answer.__name__}")(answer)
    assert verdict.passed, verdict


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("label_vectors", torch.eye, "every other"),
        ("label_vectors", lambda n: ..., "expected a tensor of 2 rows"),
        ("label_vectors", lambda n: torch.eye(n) - 1 / n, "1 with itself"),
        ("set_vector", lambda f, y, n: f.mean(0), "shape (3,), expected (6,)"),
        ("set_vector", lambda f, y, n: ..., "no answer yet"),
        ("diagonal", lambda m: sum(m[n][n] for n in m) / len(m), "minus that of 2"),
        ("diagonal", lambda m: None, "no answer yet"),
    ],
)
def test_others_are_told_what_is_missing(name, answer, says):
    verdict = getattr(exercises, f"check_{name}")(answer)
    assert not verdict.passed and says in verdict.message
