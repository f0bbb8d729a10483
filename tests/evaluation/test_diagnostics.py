"""Held-out drift error: 0 is perfect, 1 is no adaptation, and the linear path leaks."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import diagnostics
from hyperlab.hyperflow import training
from hyperlab.hyperflow.context import Context
from hyperlab.hyperflow.drift import Drift, Shape
from hyperlab.hyperflow.training import DriftConfig
from hyperlab.hyperflow.trajectories import Trajectories

TASKS, TOKENS, SIZE = 6, 3, 4
PARAMS = TOKENS * SIZE


def normal(*shape, name="v"):
    return torch.randn(shape, generator=stream(0, "diagnostics", name))


def data(name="a"):
    """Random straight-ish runs of 5 knots; the last token hardly moves."""
    speed = torch.tensor([1.0, 2.0, 1e-6]).repeat_interleave(SIZE)
    steps = normal(TASKS, 4, PARAMS, name=name) * speed
    thetas = torch.cat([torch.zeros(TASKS, 1, PARAMS), steps.cumsum(1)], 1)
    contexts = Context(
        normal(TASKS, 6, 8, name=f"{name} features"),
        normal(TASKS, 6, 2, name=f"{name} residual"),
        torch.tensor([0, 0, 1, 1, 2, -1]).expand(TASKS, -1),
    )
    flags = torch.zeros(TASKS, dtype=torch.bool)
    domain = torch.zeros(TASKS).long()
    return Trajectories(
        thetas, torch.zeros(TASKS, 5), contexts, domain, ("a",), flags, flags, SIZE
    )


class Oracle(Drift):
    """Stands for a network that knows the whole path of every task, or leaks it."""

    def __init__(self, rule, unit):
        super().__init__(Shape(n_params=PARAMS, token_size=SIZE, n_inputs=8))
        self.rule = rule
        self.scale.copy_(unit)

    def read(self, context):
        return None

    def step(self, theta, t, reading):
        return self.rule(theta, t[:, None])


def untrained():
    return training.build(data(), DriftConfig(width=16)).eval()


def test_error_and_cosine_of_known_vectors():
    v, unit = normal(TASKS, PARAMS), torch.ones(PARAMS)
    for p, error, cosine in ((v, 0, 1), (0 * v, 1, 0), (v / 2, 0.5, 1), (-v, 2, -1)):
        fit = diagnostics.compare(p, v, unit, token_size=SIZE)
        assert (fit.error, fit.cosine) == pytest.approx((error, cosine), abs=1e-5)
        torch.testing.assert_close(fit.token_error, torch.full((TOKENS,), float(error)))
        torch.testing.assert_close(fit.token_cosine, torch.full((TOKENS,), float(cosine)))


def test_tokens_are_measured_apart_each_in_its_own_unit():
    v, unit = normal(TASKS, PARAMS), torch.tensor([1.0, 10.0, 0.0]).repeat_interleave(SIZE)
    p = v.clone()
    p[:, :SIZE] = 0
    p[:, 2 * SIZE :] = 7  # of the token that does not count
    fit = diagnostics.compare(p, v, unit, token_size=SIZE)
    assert fit.token_error[:2].tolist() == [1, 0] and fit.token_error[2].isnan()
    shares = (v / unit.where(unit > 0, torch.inf)).square().sum(0).view(TOKENS, SIZE).sum(1)
    assert fit.error == pytest.approx(float((shares[0] / shares.sum()).sqrt()), rel=1e-4)


def test_tokens_must_fit():
    v = normal(TASKS, PARAMS)
    with pytest.raises(ConfigError, match="12 parameters are no multiple of token_size=5"):
        diagnostics.compare(v, v, torch.ones(PARAMS), token_size=5)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_an_untrained_network_has_error_one_on_every_path(t):
    net = untrained()
    for path in ("linear", "piecewise", "cubic"):
        assert diagnostics.on_path(net, data(), t, path=path).error == pytest.approx(1)
    still = diagnostics.rollouts(net, data(), steps=2)
    assert torch.equal(still, torch.zeros(3, TASKS, PARAMS))


def test_on_the_linear_path_the_point_alone_gives_the_answer_away():
    """(theta_t - theta_0) / t needs no support set, and fails where there is no t."""
    runs = data()
    leak = Oracle(lambda theta, t: theta / t.clamp(min=1e-6), runs.unit())
    fits = [diagnostics.on_path(leak, runs, t, path="linear") for t in (0.0, 0.1, 1.0)]
    assert [fit.error for fit in fits] == pytest.approx([1, 0, 0], abs=1e-4)
    along = diagnostics.along_rollouts(leak, runs, path="linear")
    assert [fit.error for fit in along] == pytest.approx([1] * 11)
    assert diagnostics.end_points(leak, runs).error == pytest.approx(1)


def test_the_mean_of_the_same_tasks_is_the_best_constant():
    runs = data()
    mean = diagnostics.mean_baseline(runs, runs, 0.5, path="cubic")
    velocity = diagnostics.true_flow(runs, 0.5)[1]
    constant = Oracle(lambda theta, t: velocity.mean(0).expand_as(theta), runs.unit())
    assert diagnostics.on_path(constant, runs, 0.5).error == pytest.approx(mean.error)
    doubled = Oracle(lambda theta, t: 2 * velocity.mean(0).expand_as(theta), runs.unit())
    assert mean.error < min(1, diagnostics.on_path(doubled, runs, 0.5).error)
    assert diagnostics.mean_baseline(data("b"), runs, 0.5).error > mean.error


def test_the_true_displacement_followed_along_ends_where_fine_tuning_ends():
    runs = data()
    straight = Oracle(lambda theta, t: runs.displacement, runs.unit())
    fit = diagnostics.end_points(straight, runs)
    assert (fit.error, fit.cosine) == pytest.approx((0, 1), abs=1e-5)


def test_the_size_of_a_batch_does_not_matter(monkeypatch):
    runs, net = data(), untrained()
    torch.nn.init.normal_(net.out, generator=stream(0, "out"))
    theta = normal(TASKS, PARAMS)
    whole = diagnostics.drifts(net, runs, theta, 0.2)
    monkeypatch.setattr(diagnostics, "BATCH", 4)
    parts = diagnostics.drifts(net, runs, theta, 0.2)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_what_the_given_unit_leaves_out_does_not_count():
    runs = data()
    unit = runs.unit()
    unit[:SIZE] = 0
    half = torch.cat([torch.zeros(SIZE), torch.ones(PARAMS - SIZE)])
    knows = Oracle(lambda theta, t: half * runs.displacement, runs.unit())
    assert diagnostics.end_points(knows, runs).error > 0.1
    for fit in (
        diagnostics.end_points(knows, runs, unit=unit),
        diagnostics.on_path(knows, runs, 0.5, path="linear", unit=unit),
        *diagnostics.along_rollouts(knows, runs, path="linear", unit=unit),
    ):
        assert fit.error == pytest.approx(0, abs=1e-5) and fit.token_error[0].isnan()
