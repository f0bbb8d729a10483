"""Solvers for dx/dt = f(t, x) from t = 0 on: fixed steps, a formula each, and adaptive."""

from collections.abc import Callable
from types import MappingProxyType

import torch
from jaxtyping import Float
from numpy.polynomial import Chebyshev
from torch import Tensor

from .base import ConfigError, HyperlabError, Velocity, choose

Step = Callable[[Velocity, Tensor, Tensor, Tensor], Tensor]  # (f, t, x, dt) -> x at t + dt


def euler_step(f: Velocity, t: Tensor, x: Tensor, dt: Tensor) -> Tensor:
    """Along the velocity at the start; order 1, one evaluation."""
    return x + dt * f(t, x)


def heun_step(f: Velocity, t: Tensor, x: Tensor, dt: Tensor) -> Tensor:
    """Along the mean velocity of the start and of Euler's end; order 2, two evaluations."""
    k1 = f(t, x)
    k2 = f(t + dt, x + dt * k1)
    return x + dt * (k1 + k2) / 2


def rk4_step(f: Velocity, t: Tensor, x: Tensor, dt: Tensor) -> Tensor:
    """Kutta's classical formula; order 4, four evaluations.

    Source: Hairer, Norsett, Wanner 1993, Solving Ordinary Differential Equations I, II.1.
    """
    k1 = f(t, x)
    k2 = f(t + dt / 2, x + dt * k1 / 2)
    k3 = f(t + dt / 2, x + dt * k2 / 2)
    k4 = f(t + dt, x + dt * k3)
    return x + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6


def chebyshev_step(f: Velocity, t: Tensor, x: Tensor, dt: Tensor) -> Tensor:
    """Five evaluations spent on stability, for stiff flows; order 1.

    On dx/dt = -c x it multiplies x by T(w0 - w1 c dt) / T(w0), T the Chebyshev polynomial of degree
    5: at most 0.46 in size for 2 < c dt < 31. Five Euler steps of dt / 5 grow from c dt = 10 on.

    Source: Hairer, Wanner 1996, Solving Ordinary Differential Equations II, IV.2, "Chebyshev
    methods"; here with damping 1.
    """
    before, now = torch.zeros_like(x), dt * (W1 / W0) * f(t, x)  # ways from x
    for j in range(2, STAGES + 1):
        change = dt * W1 * f(t + dt * (W1 * SLOPES[j - 1] / VALUES[j - 1]), x + now)
        ahead = 2 * (W0 * now + change) * VALUES[j - 1] - before * VALUES[j - 2]
        before, now = now, ahead / VALUES[j]
    return x + now


STAGES = 5  # evaluations of f in a Chebyshev step
W0 = 1 + 1 / STAGES**2  # damping 1: a little outside of [-1, 1], where T is at most 1
BASIS = [Chebyshev.basis(degree) for degree in range(STAGES + 1)]
VALUES, SLOPES = zip(*((float(T(W0)), float(T.deriv()(W0))) for T in BASIS), strict=True)
W1 = VALUES[-1] / SLOPES[-1]  # so that the step is right to first order

STEPS = MappingProxyType(
    {"euler": euler_step, "heun": heun_step, "rk4": rk4_step, "chebyshev": chebyshev_step}
)
# Evaluations of f in one step.
NFE = MappingProxyType({"euler": 1, "heun": 2, "rk4": 4, "chebyshev": STAGES})


def solve(
    f: Velocity,
    x0: Float[Tensor, "*shape"],
    *,
    steps: int = 8,
    method: str = "euler",
    t_start: float = 0.0,
    t_end: float = 1.0,
) -> Float[Tensor, " knots *shape"]:
    """The steps + 1 states of dx/dt = f(t, x) at equal distances from t_start to t_end.

    Raises:
        ConfigError: for an unknown method, fewer than one step, or t_end <= t_start.
    """
    step = choose(STEPS, method)
    if steps < 1 or not t_end > t_start:
        raise ConfigError(
            f"want at least one step and t_end > t_start, got {steps=}, {t_start=}, {t_end=}"
        )
    times = torch.linspace(t_start, t_end, steps + 1, dtype=x0.dtype, device=x0.device)
    states = [x0]
    for t, t_next in zip(times[:-1], times[1:], strict=True):
        states.append(step(f, t, states[-1], t_next - t))
    return torch.stack(states)


def solve_adaptive(
    f: Velocity,
    x0: Float[Tensor, "*shape"],
    times: Float[Tensor, " knots"],
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
) -> Float[Tensor, " knots *shape"]:
    """The states at `times`, x0 at the first; the solver (dopri5) chooses its own steps.

    Args:
        rtol: error allowed in a step, as a share of |x|.
        atol: error allowed in a step whatever |x|, in the unit of x.

    Raises:
        ConfigError: if the times do not increase.
        HyperlabError: if the step size shrinks to nothing: f is not finite or not smooth.

    Source: Dormand and Prince 1980, in `torchdiffeq`.
    """
    from torchdiffeq import odeint  # here, for it loads all of scipy.integrate

    if times.ndim != 1 or len(times) < 2 or not (times.diff() > 0).all():
        raise ConfigError(f"times must increase, got {times.tolist()}")
    try:
        return odeint(f, x0, times.to(x0), rtol=rtol, atol=atol, method="dopri5")
    except AssertionError as error:
        raise HyperlabError(
            f"dopri5 stopped ({error}): f is not finite, or not smooth enough for {rtol=}"
        ) from error
