"""Solvers: orders, exact cases, agreement with each other."""

import pytest
import torch
from numpy.polynomial import Chebyshev

from hyperlab import interpolants, solvers
from hyperlab.base import ConfigError, HyperlabError, stream
from tests.problems import PROBLEMS

every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=repr)


def error(problem, method, steps):
    end = solvers.solve(problem.f, problem.x0, steps=steps, method=method)[-1]
    return (end - problem.exact(torch.tensor(1.0).double())).norm().item()


@every_problem
@pytest.mark.parametrize(
    ("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4), ("chebyshev", 1)]
)
def test_halving_the_step_divides_the_error_by_two_to_the_order(problem, method, order):
    ratio = error(problem, method, 64) / error(problem, method, 128)
    assert ratio == pytest.approx(2**order, rel=0.12)


@every_problem
def test_the_adaptive_solver_agrees_with_rk4_and_with_the_truth(problem):
    times = torch.linspace(0, 1, 5, dtype=torch.float64)
    path = solvers.solve_adaptive(problem.f, problem.x0, times)
    rk4 = solvers.solve(problem.f, problem.x0, steps=400, method="rk4")[::100]
    torch.testing.assert_close(path, rk4, rtol=0, atol=1e-5)
    torch.testing.assert_close(path[-1], problem.exact(times[-1]), rtol=0, atol=1e-5)


@every_problem
@pytest.mark.parametrize("method", solvers.STEPS)
def test_nfe_counts_the_evaluations_of_one_step(problem, method):
    seen = []
    counted = lambda t, x: seen.append(t) or problem.f(t, x)
    path = solvers.solve(counted, problem.x0, steps=3, method=method)
    assert len(seen) == 3 * solvers.NFE[method]
    assert path.shape == (4, *problem.x0.shape) and torch.equal(path[0], problem.x0)


def factor(method, c_dt):
    """What one step multiplies x by on dx/dt = -c x."""
    x0 = torch.ones(1).double()
    return solvers.solve(lambda t, x: -c_dt * x, x0, steps=1, method=method)[-1].item()


@pytest.mark.parametrize(
    ("method", "limit"),
    [("euler", 2.0), ("heun", 2.0), ("rk4", 2.7853), ("chebyshev", 32.3077)],
)
def test_a_step_is_stable_up_to_its_limit_and_no_further(method, limit):
    assert abs(factor(method, 0.999 * limit)) < 1 < abs(factor(method, 1.001 * limit))


def test_a_chebyshev_step_damps_every_stiff_direction():
    assert max(abs(factor("chebyshev", z)) for z in torch.linspace(2, 31, 200)) < 0.462


def test_a_chebyshev_step_is_the_damped_polynomial_of_numpy():
    w0 = 1 + 1 / 25
    polynomial = Chebyshev.basis(5)
    w1 = polynomial(w0) / polynomial.deriv()(w0)
    for z in (0.3, 4.0, 17.0, 30.0):
        wanted = polynomial(w0 - w1 * z) / polynomial(w0)
        assert factor("chebyshev", z) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 64])
@pytest.mark.parametrize("method", solvers.STEPS)
def test_any_solver_reaches_the_end_of_a_linear_path_in_any_number_of_steps(steps, method):
    thetas = torch.randn(6, 11, generator=stream(0), dtype=torch.float64)
    line = interpolants.Linear(torch.linspace(0, 1, 6), thetas)
    f = lambda t, x: line.derivative(t[None])[0]
    end = solvers.solve(f, thetas[0], steps=steps, method=method)[-1]
    torch.testing.assert_close(end, thetas[-1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kept", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("knots", [2, 3, 8, 21, 51, 101])
def test_euler_on_the_piecewise_linear_path_gives_the_recorded_iterates_back(
    knots, dtype, kept
):
    thetas = torch.randn(knots, 5, generator=stream(1), dtype=dtype)
    times = torch.arange(knots, dtype=kept) / (knots - 1)
    record = interpolants.PiecewiseLinear(times, thetas)
    f = lambda t, x: record.derivative(t[None])[0]
    path = solvers.solve(f, thetas[0], steps=knots - 1)
    atol = 1e-12 if dtype == kept == torch.float64 else 1e-4
    torch.testing.assert_close(path, thetas, rtol=0, atol=atol)


def test_the_end_time_can_be_another():
    end = solvers.solve(lambda t, x: -x, torch.ones(1).double(), steps=200, t_end=3.0)[-1]
    assert end.item() == pytest.approx((1 - 3 / 200) ** 200, abs=1e-12)


def test_gradients_reach_the_start_through_every_solver():
    for method in solvers.STEPS:
        x0 = torch.ones(3, requires_grad=True)
        solvers.solve(lambda t, x: -x, x0, method=method)[-1].sum().backward()
        torch.testing.assert_close(x0.grad, torch.full((3,), torch.e**-1), rtol=0.2, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "eular"}, "'chebyshev', 'euler', 'heun', 'rk4'"),
        ({"steps": 0}, "at least one step.*steps=0"),
        ({"steps": -3}, "at least one step.*steps=-3"),
        ({"t_end": -1.0}, "t_end > t_start"),
        ({"t_start": 1.0}, "t_end > t_start"),
    ],
)
def test_what_cannot_be_solved_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        solvers.solve(lambda t, x: -x, torch.ones(1), **options)


def test_the_adaptive_solver_says_why_it_stopped():
    with pytest.raises(ConfigError, match="increase"):
        solvers.solve_adaptive(lambda t, x: -x, torch.ones(1), torch.tensor([0.0, 0.0]))
    with pytest.raises(HyperlabError, match="not finite"):
        solvers.solve_adaptive(lambda t, x: x / 0, torch.ones(1), torch.tensor([0.0, 1.0]))
