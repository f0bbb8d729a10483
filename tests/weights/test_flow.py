"""Flows and diffusions against known answers: Gaussians, blobs, assignments, torchcfm."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from hyperlab import solvers
from hyperlab.base import ConfigError, stream
from hyperlab.weights import diffusion, flow
from hyperlab.weights.flow import FlowConfig

QUICK = FlowConfig(prior="normal", width=64, depth=2, steps=400, batch=128, lr=3e-3)


def points(n, dim=2, seed=0):
    return torch.randn(n, dim, generator=stream(seed, "points"))


def test_the_loss_vanishes_at_the_exact_velocity():
    x0, x1 = points(16), points(16, seed=1)
    t = torch.linspace(0, 0.9, 16)
    exact = lambda t, x: (x1 - x) / (1 - t[:, None])
    assert flow.flow_loss(exact, x0, x1, t) < 1e-10


def test_the_loss_and_its_target_are_torchcfms():
    matching = pytest.importorskip("torchcfm.conditional_flow_matching")
    x0, x1, t = points(16), points(16, seed=1), torch.rand(16, generator=stream(2))
    matcher = matching.ConditionalFlowMatcher(sigma=0.0)
    _, x_t, wanted = matcher.sample_location_and_conditional_flow(x0, x1, t=t)
    velocity = lambda t, x: t[:, None] * x.sin()
    theirs = (velocity(t, x_t) - wanted).square().mean()
    torch.testing.assert_close(flow.flow_loss(velocity, x0, x1, t), theirs)


def cost(x0, x1):
    return float((x0 - x1).double().square().sum())


def test_the_optimal_coupling_is_the_best_of_all_orders():
    x0, x1 = points(6), points(6, seed=1)
    found = flow.optimal(x0, x1)
    best = min(cost(x0[list(order)], x1) for order in permutations(range(6)))
    assert cost(found, x1) == pytest.approx(best)
    assert torch.equal(found.sort(0).values, x0.sort(0).values), "every start is used once"


def test_the_optimal_coupling_costs_what_torchcfms_plan_costs():
    transport = pytest.importorskip("torchcfm.optimal_transport")
    x0, x1 = points(32), points(32, seed=1)
    plan = torch.from_numpy(transport.OTPlanSampler("exact").get_map(x0, x1))
    theirs = float((plan * torch.cdist(x0.double(), x1.double()).square()).sum()) * 32
    assert cost(flow.optimal(x0, x1), x1) == pytest.approx(theirs, rel=1e-5)


def test_on_a_line_the_optimal_coupling_sorts():
    x0, x1 = points(50, dim=1), points(50, dim=1, seed=1)
    order = x1[:, 0].argsort()
    assert (flow.optimal(x0, x1)[order].diff(dim=0) >= 0).all()


def test_the_coupling_within_conditions_mixes_none():
    x0, labels = points(30), torch.arange(30) % 3
    x1 = points(30, seed=1) + 5 * labels[:, None]
    found = flow.optimal_within(x0, x1, labels)
    for label in range(3):
        rows = labels == label
        assert torch.equal(found[rows].sort(0).values, x0[rows].sort(0).values)
    assert cost(flow.optimal(x0, x1), x1) < cost(found, x1) < cost(x0, x1)
    with pytest.raises(ConfigError, match="label of every point"):
        flow.optimal_within(x0, x1, None)


@pytest.mark.parametrize(
    ("prior", "std"), [("normal", 1), ("kaiming_normal", 0.25), ("kaiming_uniform", 0.25)]
)
def test_priors_have_kaimings_variance(prior, std):
    found = flow.PRIORS[prior](4_000, 32, stream(0))
    assert found.std() == pytest.approx(std, rel=0.01)
    if prior == "kaiming_uniform":
        assert found.abs().max() <= (6 / 32) ** 0.5


def test_between_gaussians_the_velocity_is_the_known_affine_one():
    """From N(0, 1) to N(m, s^2), at x_t: E[x1 - x0 | x_t] = m + (t s^2 - (1 - t)) k (x_t - t m).

    k = 1 / ((1 - t)^2 + t^2 s^2).
    """
    m, s = torch.tensor([2.0, -1.0]), 0.5
    x1 = m + s * points(4_000)
    found = flow.fit_flow(x1, QUICK, generator=stream(1))
    x = points(200, seed=2)
    centre, scale = found.to_unit(m[None]), s / float(found.scale)
    for t in (0.1, 0.5, 0.8):
        at = t * centre + ((1 - t) ** 2 + (t * scale) ** 2) ** 0.5 * x
        k = 1 / ((1 - t) ** 2 + (t * scale) ** 2)
        wanted = centre + (t * scale**2 - (1 - t)) * k * (at - t * centre)
        off = (found.given()(torch.tensor(t), at) - wanted).square().mean().sqrt()
        assert off < 0.2


@pytest.fixture(scope="module")
def blobs():
    which = torch.arange(600) % 3 == 0  # a third of the points
    centre = torch.where(
        which[:, None], torch.tensor([3.0, 0.0]), torch.tensor([-3.0, 1.0])
    )
    return centre + 0.2 * points(600)


def share_of_the_first(x):
    return float((x[:, 0] > 0).float().mean())


def test_a_flow_fills_both_blobs_in_proportion(blobs):
    found = flow.fit_flow(blobs, QUICK, generator=stream(3))
    x = found.sample(600, generator=stream(4), steps=20, method="heun")
    assert share_of_the_first(x) == pytest.approx(1 / 3, abs=0.08)
    near = torch.cdist(x, blobs).amin(1)
    assert near.quantile(0.9) < 0.3
    assert torch.equal(x, found.sample(600, generator=stream(4), steps=20, method="heun"))


def test_what_the_flow_is_told_decides_where_it_goes(blobs):
    told = torch.nn.functional.one_hot((blobs[:, 0] > 0).long(), 2).float()
    config = replace(QUICK, coupling="optimal_within")
    labels = (blobs[:, 0] > 0).long()
    found = flow.fit_flow(blobs, config, context=told, labels=labels, generator=stream(5))
    for label in (0, 1):
        x = found.sample(200, generator=stream(6), steps=20, context=torch.eye(2)[label])
        assert share_of_the_first(x) == pytest.approx(label, abs=0.03)


def test_the_path_has_all_steps_and_counts_its_looks(blobs, monkeypatch):
    found = flow.fit_flow(blobs, replace(QUICK, steps=2), generator=stream(7))
    looks, forward = [], found.field.forward
    monkeypatch.setattr(
        found.field, "forward", lambda *args: looks.append(1) or forward(*args)
    )
    for method, n in solvers.NFE.items():
        looks.clear()
        path = found.path(3, generator=stream(8), steps=7, method=method)
        assert path.shape == (8, 3, 2) and len(looks) == 7 * n


def test_a_diffusion_recovers_mean_and_spread_and_fills_both_blobs(blobs):
    found = diffusion.fit_diffusion(blobs, replace(QUICK, steps=1_000), generator=stream(9))
    for eta in (1.0, 0.0):
        x = found.sample(600, generator=stream(10), steps=50, eta=eta)
        assert share_of_the_first(x) == pytest.approx(1 / 3, abs=0.1)
        assert torch.cdist(x, blobs).amin(1).median() < 0.3
    with pytest.raises(ConfigError, match="1 to 1000 steps"):
        found.sample(2, generator=stream(0), steps=0)


def test_the_noise_loss_vanishes_for_who_knows_the_noise():
    x, noise = points(8), points(8, seed=1)
    level = torch.arange(8) * 100
    assert diffusion.noise_loss(lambda t, mixed: noise, x, noise, level) == 0
    assert diffusion.signal()[-1] < 1e-4


def test_unknown_options_are_named():
    with pytest.raises(ConfigError, match="have .*'optimal'"):
        FlowConfig(coupling="sinkhorn")
    with pytest.raises(ConfigError, match="have .*'normal'"):
        FlowConfig(prior="cauchy")
    with pytest.raises(ConfigError, match="finite numbers"):
        flow.fit_flow(torch.full((2, 2), torch.nan), QUICK, generator=stream(0))
