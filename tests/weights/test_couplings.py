"""Couplings against all orders, sorting, and torchcfm's plan."""

from itertools import permutations

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.weights import couplings


def points(n, dim=2, seed=0):
    return torch.randn(n, dim, generator=stream(seed, "points"))


def cost(x0, x1):
    return float((x0 - x1).double().square().sum())


def test_the_optimal_coupling_is_the_best_of_all_orders():
    x0, x1 = points(6), points(6, seed=1)
    found = couplings.optimal(x0, x1)
    best = min(cost(x0[list(order)], x1) for order in permutations(range(6)))
    assert cost(found, x1) == pytest.approx(best)
    assert torch.equal(found.sort(0).values, x0.sort(0).values), "every start is used once"


def test_the_optimal_coupling_costs_what_torchcfms_plan_costs():
    transport = pytest.importorskip("torchcfm.optimal_transport")
    x0, x1 = points(32), points(32, seed=1)
    plan = torch.from_numpy(transport.OTPlanSampler("exact").get_map(x0, x1))
    theirs = float((plan * torch.cdist(x0.double(), x1.double()).square()).sum()) * 32
    assert cost(couplings.optimal(x0, x1), x1) == pytest.approx(theirs, rel=1e-5)


def test_on_a_line_the_optimal_coupling_sorts():
    x0, x1 = points(50, dim=1), points(50, dim=1, seed=1)
    order = x1[:, 0].argsort()
    assert (couplings.optimal(x0, x1)[order].diff(dim=0) >= 0).all()


def test_the_coupling_within_conditions_mixes_none():
    x0, labels = points(30), torch.arange(30) % 3
    x1 = points(30, seed=1) + 5 * labels[:, None]
    found = couplings.optimal_within(x0, x1, labels)
    for label in range(3):
        rows = labels == label
        assert torch.equal(found[rows].sort(0).values, x0[rows].sort(0).values)
    costs = [cost(x, x1) for x in (couplings.optimal(x0, x1), found, x0)]
    assert costs == sorted(costs) and len({*costs}) == 3
    with pytest.raises(ConfigError, match="label of every point"):
        couplings.optimal_within(x0, x1, None)


def test_each_coupling_keeps_all_starts_where_torchcfms_loses_some():
    x0, x1, labels = points(50), points(50, seed=1), torch.arange(50) % 4
    assert torch.equal(couplings.independent(x0, x1), x0)
    for couple in couplings.COUPLINGS.values():
        assert len(couple(x0, x1, labels).unique(dim=0)) == 50
    transport = pytest.importorskip("torchcfm.optimal_transport")
    drawn, _ = transport.OTPlanSampler("exact").sample_plan(x0, x1)
    assert len(drawn.unique(dim=0)) < 50
