"""A checksum changes with whatever could change a number, and with nothing else."""

from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import pytest
import torch
from torch import nn

from hyperlab.identity import checksum, files


@dataclass(frozen=True)
class Shape:
    """Of a network."""

    heads: int = 2


class Network(nn.Module):
    """One number, a buffer that no file keeps, and a setting."""

    def __init__(self, shape=Shape(), hidden=0.0):
        super().__init__()
        self.shape, self.weight = shape, nn.Parameter(torch.ones(1))
        self.register_buffer("hidden", torch.tensor(hidden), persistent=False)


def matcher(names):
    return lambda name: name in names


def long_row(last):
    return torch.cat([torch.zeros(2_000), torch.tensor([float(last)])])


def keyword(n):
    def scaled(x, *, scale=n):
        return scale * x

    return scaled


def scope(rate):
    """Functions and classes of a reader's own, who edits one global."""
    inside = {"__name__": "reader", "rate": rate}
    exec(READER, inside)
    return inside


READER = """
def slower(x):
    return x * rate
def indirect(x):
    return [slower(y) for y in x] if x else again(x)
def again(x):
    return indirect(x)
class Rule:
    def __init__(self):
        self.name = "rule"
    def __call__(self, x):
        return indirect(x)
class Heir(Rule):
    pass
"""


def edited(body, kind=object, **more):
    """An instance of a reader's class whose function is edited."""
    mine = type("Mine", (kind,), {"__call__": body, "__module__": "__main__", **more})()
    mine.setting = 1
    return mine


def decorated(wrap, body):
    return edited(lambda self: 0, step=wrap(body))


WRAPS = (staticmethod, classmethod, property, cached_property, cache, torch.no_grad())
PAIRS = {
    "endings in a tuple": (
        lambda n: n.endswith((".bias", "_bias")),
        lambda n: n.endswith((".weight", "_w")),
    ),
    "sets of names": (lambda n: n in {"a", "b"}, lambda n: n in {"a", "c"}),
    "defaults by keyword": (keyword(1.0), keyword(2.0)),
    "comprehensions": (lambda xs: [x + 1 for x in xs], lambda xs: [x - 1 for x in xs]),
    "functions inside": (lambda: lambda x: x + 1, lambda: lambda x: x - 1),
    "numbers read": (scope(1)["slower"], scope(2)["slower"]),
    "functions read": (scope(1)["indirect"], scope(2)["indirect"]),
    "what a method's class reads": (scope(1)["Heir"](), scope(2)["Heir"]()),
    "a method that was edited": (edited(lambda s, x: x + 1), edited(lambda s, x: x - 1)),
    "a network's forward": (
        nn.Sequential(edited(lambda s, x: x + 1, nn.Module)),
        nn.Sequential(edited(lambda s, x: x - 1, nn.Module)),
    ),
    "values of a class": (edited(None, rate=1), edited(None, rate=2)),
    **{
        f"what {getattr(wrap, '__name__', 'no_grad')} wraps": (
            decorated(wrap, lambda *x: (x, 1)),
            decorated(wrap, lambda *x: (x, 2)),
        )
        for wrap in WRAPS
    },
    "closures of one name": (matcher({"a"}), matcher({"b"})),
    "functions of one name": (lambda x: x + 1, lambda x: x + 2),
    "what is bound": (partial(sum, start=1), partial(sum, start=2)),
    "long tensors in a tuple": ((long_row(0),), (long_row(1),)),
    "arrays": (np.zeros(3), np.zeros(3, np.float32)),
    "shapes": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "settings of a network": (Network(), Network(Shape(heads=3))),
    "buffers that no file keeps": (Network(), Network(hidden=1.0)),
    "activations": (nn.Sequential(nn.ReLU()), nn.Sequential(nn.GELU())),
    "nested keys": ({"a": {"b": 1}}, {"a": {"c": 1}}),
    "numbers and their words": (1, "1"),
    "half precision": (torch.ones(2).bfloat16(), torch.ones(2).half()),
}


@pytest.mark.parametrize("one, other", PAIRS.values(), ids=PAIRS)
def test_what_differs_has_another_checksum(one, other):
    assert checksum(one) == checksum(one) != checksum(other)


def test_what_is_made_alike_has_the_same_checksum():
    assert checksum(Network()) == checksum(Network().eval())
    assert checksum(matcher({"a", "b"})) == checksum(matcher({"b", "a"}))
    assert checksum(scope(1)["Heir"]()) == checksum(scope(1)["Heir"]())
    assert checksum({"a": 1, "b": [2]}) == checksum({"b": (2,), "a": 1})
    assert checksum(torch.empty(0), np.zeros((0, 3))) == checksum(
        torch.empty(0), np.zeros((0, 3))
    )


def test_a_folder_counts_by_its_files_and_links_in_a_circle_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("one", encoding="utf-8")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    before = files(tmp_path)
    assert [name for name, *_ in before] == ["a/x"]
    (tmp_path / "a" / "x").write_text("two", encoding="utf-8")
    assert files(tmp_path) != before and files(tmp_path / "nothing") == []
