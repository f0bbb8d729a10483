"""Interpolants against scipy, finite differences and each other."""

import pytest
import torch
from scipy.interpolate import CubicSpline, interp1d

from hyperlab import interpolants
from hyperlab.base import ConfigError, stream

EVEN = torch.linspace(0, 1, 51, dtype=torch.float64)
UNEVEN = torch.cat(
    [torch.zeros(1), torch.rand(20, generator=stream(2)).sort().values, torch.ones(1)]
).double()
TWO = torch.tensor([0.0, 1.0]).double()
grids = pytest.mark.parametrize("times", [EVEN, UNEVEN, TWO], ids=["even", "uneven", "two"])
kinds = pytest.mark.parametrize("kind", interpolants.KINDS.values())


def thetas_at(times, *batch):
    return torch.randn(*batch, len(times), 7, generator=stream(0), dtype=torch.float64)


def moments(n=200):
    """Random times, the ends among them."""
    inner = torch.rand(n, generator=stream(1), dtype=torch.float64)
    return torch.cat([inner, torch.tensor([0.0, 1.0])])


@grids
@pytest.mark.parametrize("smooth", [False, True])
def test_cubic_equals_scipys_natural_spline_to_ten_digits(times, smooth):
    thetas = torch.sin(3 * times[:, None] + torch.arange(7)) if smooth else thetas_at(times)
    ours, t = interpolants.Cubic(times, thetas), torch.cat([moments(), times])
    oracle = CubicSpline(times.numpy(), thetas.numpy(), bc_type="natural")
    scale = 1 if smooth else oracle(t.numpy(), 1).max()
    for found, order in [(ours.evaluate(t), 0), (ours.derivative(t), 1)]:
        true = torch.from_numpy(oracle(t.numpy(), order))
        torch.testing.assert_close(found, true, rtol=0, atol=1e-10 * scale)


@grids
def test_piecewise_linear_equals_scipys_interpolation(times):
    thetas, t = thetas_at(times), moments()
    true = interp1d(times.numpy(), thetas.numpy(), axis=0)(t.numpy())
    found = interpolants.PiecewiseLinear(times, thetas).evaluate(t)
    torch.testing.assert_close(found, torch.from_numpy(true), rtol=0, atol=1e-12)


@grids
@kinds
def test_the_path_passes_through_its_knots_or_at_least_its_ends(kind, times):
    thetas = thetas_at(times)
    at = [0, -1] if kind is interpolants.Linear else slice(None)
    found = kind(times, thetas).evaluate(times[at])
    torch.testing.assert_close(found, thetas[at], rtol=0, atol=1e-12)


@grids
@kinds
def test_the_derivative_is_the_slope_of_evaluate(kind, times):
    path, t = kind(times, thetas_at(times)), moments().requires_grad_()
    values = path.evaluate(t)
    slopes = [torch.autograd.grad(v.sum(), t, retain_graph=True)[0] for v in values.T]
    torch.testing.assert_close(torch.stack(slopes, -1), path.derivative(t.detach()))


@kinds
def test_the_velocity_adds_up_to_the_displacement(kind):
    """Simpson's rule is exact on each cubic piece."""
    path = kind(EVEN, thetas_at(EVEN))
    h = EVEN.diff()[:, None]
    nearly = EVEN[1:] - 1e-4 * h[:, 0]  # the velocity may jump at a knot
    start, middle, end = (
        path.derivative(t) for t in (EVEN[:-1], (EVEN[:-1] + EVEN[1:]) / 2, nearly)
    )
    total = (h / 6 * (start + 4 * middle + end)).sum(0)
    torch.testing.assert_close(total, path.thetas[-1] - path.thetas[0], rtol=0, atol=1e-3)


@kinds
def test_a_straight_even_path_is_the_same_line_for_every_kind(kind):
    start, slope = torch.randn(2, 7, generator=stream(3), dtype=torch.float64)
    path, t = kind(UNEVEN, start + UNEVEN[:, None] * slope), moments()
    torch.testing.assert_close(path.evaluate(t), start + t[:, None] * slope)
    torch.testing.assert_close(path.derivative(t), slope.expand(len(t), -1))


@kinds
def test_a_batch_equals_its_trajectories_one_by_one(kind):
    thetas, t = thetas_at(UNEVEN, 2, 3), moments(5)
    many = kind(UNEVEN, thetas)
    alone = kind(UNEVEN, thetas[1, 2])
    torch.testing.assert_close(many.evaluate(t)[1, 2], alone.evaluate(t))
    torch.testing.assert_close(many.derivative(t)[1, 2], alone.derivative(t))


@kinds
def test_one_time_per_trajectory_is_the_diagonal_of_all_times(kind):
    thetas = thetas_at(UNEVEN, 6)
    path, t = kind(UNEVEN, thetas), moments(4)
    rows = torch.arange(6)
    values, slopes = path.both_each(t)
    torch.testing.assert_close(values, path.evaluate(t)[rows, rows])
    torch.testing.assert_close(slopes, path.derivative(t)[rows, rows])


@kinds
def test_weights_are_all_a_trainer_needs(kind):
    thetas, t = thetas_at(EVEN, 4), moments(2)
    values, slopes = kind.weights(EVEN, t)
    found = torch.einsum("bk,bkp->bp", values, thetas)
    torch.testing.assert_close(found, kind(EVEN, thetas).both_each(t)[0])
    one = torch.ones(len(t)).double()
    torch.testing.assert_close(values.sum(1), one)
    torch.testing.assert_close(slopes.sum(1), 0 * one, rtol=0, atol=1e-10)


@kinds
def test_single_precision_records_stay_in_single_precision(kind):
    path = kind(EVEN.float(), thetas_at(EVEN).float())
    exact = kind(EVEN, thetas_at(EVEN))
    assert path.evaluate(moments().float()).dtype == torch.float32
    torch.testing.assert_close(
        path.evaluate(moments()).double(), exact.evaluate(moments()), rtol=0, atol=1e-4
    )


@kinds
def test_beyond_the_ends_the_outermost_piece_goes_on(kind):
    path, t = (
        kind(UNEVEN, thetas_at(UNEVEN)),
        torch.tensor([1.0, 1.0 + 1e-6], dtype=torch.float64),
    )
    rise = path.evaluate(t).diff(dim=0)[0] / 1e-6
    torch.testing.assert_close(rise, path.derivative(t)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("times", "shape", "message"),
    [
        ([0.0, 0.5, 0.5, 1.0], (4, 2), "must increase"),
        ([0.0, 0.5, 2.0], (3, 2), "from 0 to 1"),
        ([0.0], (1, 2), "must increase"),
        ([0.0, 0.5, 1.0], (4, 2), r"\(4, 2\) do not have the 3 knots"),
    ],
)
@kinds
@pytest.mark.usefixtures("unchecked_shapes")
def test_records_that_fit_no_path_are_refused(kind, times, shape, message):
    with pytest.raises(ConfigError, match=message):
        kind(torch.tensor(times), torch.zeros(shape))


@kinds
def test_times_and_trajectories_must_pair_up(kind):
    path = kind(EVEN, thetas_at(EVEN, 3))
    with pytest.raises(ConfigError, match="one time per trajectory: got 2 times"):
        path.both_each(torch.tensor([0.1, 0.2]).double())
