"""Checks of the answers in notebooks 00 to 09."""

import zlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .. import interpolants, solvers
from ..study import tables
from .checking import NotYet, check, expect


@check("your step is Heun's: halve it and the error falls to a quarter.")
def check_heun_step(step: Callable[..., Tensor]) -> None:
    """`step(f, t, x, dt)` -> the state after one step of Heun's method (notebook 01)."""
    x, dt = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor(0.25).double()
    fields = {
        "dx/dt = -x": lambda t, x: -x,
        "dx/dt = t x": lambda t, x: t * x,
        "dx/dt = x^2 + t": lambda t, x: x**2 + t,
    }
    for name, f in fields.items():
        for start in (0.0, 0.5):
            t = torch.tensor(start).double()
            right = solvers.heun_step(f, t, x, dt)
            hint = f"(For {name} at t = {start}, x = (1, -2, 0.5) and dt = 0.25: "
            expect(step(f, t, x, dt), right, hint + "average both velocities.)")


@check("beyond 2 / (largest curvature) every step makes the steep direction larger.")
def check_largest_step(answer: object) -> None:
    """The learning rate at which GD on curvatures (1, 25) stops shrinking (notebook 01)."""
    hint = "(One step multiplies a direction of curvature c by 1 - lr c: when is that -1?)"
    expect(answer, 2 / 25, hint, rtol=1e-3)


@check("your rule gives every image to the class whose mean is nearest.")
def check_nearest_mean(nearest: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`nearest(images, means)` -> for each image the number of the nearest mean (00)."""
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 1.0]])
    images = torch.tensor([[6.0, 0.0], [0.1, 0.6], [0.2, 0.1], [4.0, 0.9]])
    hint = (
        "(Four images of two pixels, means (0, 0), (10, 0), (0, 1): take the argmin over "
    )
    expect(nearest(images, means), torch.tensor([1, 2, 0, 2]), hint + "the means, dim=1.)")


@check("a difference over the time that it took: what a drift learns from.")
def check_recorded_velocity(velocity: Callable[[Tensor], Tensor]) -> None:
    """`velocity(path)` of steps + 1 rows, at equal times from 0 to 1 -> one row a step (00)."""
    g = torch.Generator().manual_seed(0)
    for steps, dim in ((4, 2), (10, 3)):
        path = torch.randn(steps + 1, dim, generator=g)
        hint = (
            f"({steps} steps from t = 0 to 1: each takes 1 / {steps}. How far does it go, and "
            "how long does it take?)"
        )
        expect(velocity(path.clone()), path.diff(dim=0) * steps, hint)


@check("the smallest class decides, and no class gives more than ten queries.")
def check_query_rule(n_query: Callable[[Tensor], int]) -> None:
    """`n_query(counts)` -> Meta-Dataset's number of queries of each class (notebook 02)."""
    for counts, right in (
        ([60] * 8, 10),
        ([600, 7, 40], 3),
        ([30, 13, 90], 6),
        ([2, 2], 1),
    ):
        hint = (
            f"(Classes of {counts} images: half of the smallest class, rounded down, and "
        )
        expect(n_query(torch.tensor(counts)), right, hint + "at most 10.)")


@check("half the interval costs four times the episodes.")
def check_episodes_needed(needed: Callable[[float, float], int]) -> None:
    """`needed(std, half_width)` -> smallest n with t std / sqrt(n) <= half_width (02)."""
    for std, half_width, right in (
        (0.02, 0.02, 7),
        (0.08, 0.01, 249),
        (0.08, 0.005, 986),
    ):
        hint = (
            f"(std = {std}, half width {half_width}: the first n from 3 on for which t std / "
            "sqrt(n) is no wider; t, of n - 1 degrees of freedom, grows when n is small.)"
        )
        expect(needed(std, half_width), right, hint)


@check("queries and keys stay, values move.")
def check_value_biases(match: Callable[[str], object]) -> None:
    """`match(name)` -> (2,) for the attention's qkv biases, else False (notebook 03)."""
    hint = (
        "(Thirds are 0: queries, 1: keys, 2: values; one of them is still a tuple: (1,).)"
    )
    for name, right in (
        ("blocks.3.attn.qkv.bias", (2,)),
        ("blocks.3.attn.proj.bias", False),
        ("blocks.3.attn.qkv.weight", False),
    ):
        found = match(name)
        if found is None or found is ... or found != right:
            raise NotYet(f"found {found} for {name!r}, expected {right}. {hint}")


@check("whatever its size, a gradient beyond eps becomes a step of the length lr.")
def check_first_adam_step(step: Callable[[Tensor, float, float], Tensor]) -> None:
    """`step(gradient, lr, eps)` -> how far Adam's first step goes, from rest (notebook 03)."""
    gradient = torch.tensor([3.0, -0.02, 1e-8, -1e-10, 0.0], dtype=torch.float64)
    for lr, eps in ((0.03, 1e-8), (0.01, 1e-6)):
        theta = torch.zeros(5).double().requires_grad_()
        theta.grad = gradient.clone()
        torch.optim.Adam([theta], lr=lr, eps=eps).step()
        hint = (
            f"(Gradients {gradient.tolist()}, lr {lr}, eps {eps}: the gradient over its own "
            "size plus eps. Which way does a step go?)"
        )
        expect(step(gradient.clone(), lr, eps), theta.detach(), hint)


@check("each row gets the bias of its own task, and so each task its own gradient.")
def check_row_bias(rows: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """`rows(x, weight, biases, task)` -> W x + b[task of the row], on all tokens (04)."""
    g = torch.Generator().manual_seed(4)
    x, weight = torch.randn(5, 3, 4, generator=g), torch.randn(2, 4, generator=g)
    biases, task = torch.randn(3, 2, generator=g), torch.tensor([2, 0, 0, 1, 2])
    right = torch.stack([x[i] @ weight.T + biases[task[i]] for i in range(5)])
    hint = "(x: 5 images of 3 tokens, 3 tasks. biases[task] is 5 x 2: where is an axis lacking?)"
    expect(rows(x, weight, biases, task), right, hint)


@check("what is not marked is not there, and what differs from its mark is damaged.")
def check_to_make(to_make: Callable[..., list[int]]) -> None:
    """`to_make(groups, marks, checksum)` -> numbers of the groups to make again (notebook 04)."""
    whole = [b"theta 0", b"theta 1", b"theta 2", b"theta 3"]
    marks = [zlib.crc32(group) for group in whole]
    cases = {
        "all four are sound": (whole, marks, []),
        "group 1 was cut short": ([whole[0], b"the", *whole[2:]], marks, [1]),
        "the run died before the mark of group 2": (whole, [*marks[:2], 0, marks[3]], [2]),
        "of group 3 nothing is there, and an empty file's checksum is 0": (
            [*whole[:3], b""], [*marks[:3], 0], [3],
        ),
    }  # fmt: skip
    for what, (groups, noted, right) in cases.items():
        found = to_make(list(groups), list(noted), zlib.crc32)
        if found != right:
            raise NotYet(f"found {found!r:.60}, expected {right}. (Here {what}.)")


@check("on the straight line the point gives its own velocity away, whatever the task.")
def check_leak(leak: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """`leak(theta, theta0, t)` -> velocity of the straight line through both (notebook 06)."""
    theta0, v = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 4.0, -1.0])
    for t in (0.1, 0.5, 1.0):
        hint = f"(theta = theta0 + t v, here with t = {t} and theta0 = (1, -2, 0.5): solve for v.)"
        expect(leak(theta0 + t * v, theta0, torch.tensor(t)), v, hint, rtol=1e-4)


@check("you can now say of every arrow how much of it you see.")
def check_share(share: Callable[[Tensor, Tensor], Tensor]) -> None:
    """`share(axes, v)` -> length of v in the plane over its whole length (notebook 06)."""
    axes = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.8, 0.0]])
    cases = {
        (3.0, 0.0, 0.0, 4.0): 0.6,
        (0.0, 3.0, 4.0, 0.0): 1.0,
        (0.0, 4.0, -3.0, 0.0): 0.0,
    }
    for v, right in cases.items():
        hint = f"(For v = {v} and axes {axes.tolist()}: divide two lengths.)"
        expect(share(axes, torch.tensor(v)), right, hint, rtol=1e-4)


@check(
    "Euler's method with a length factor: all that HyperFlow does after its forward pass."
)
def check_follow(follow: Callable[..., Tensor]) -> None:
    """`follow(h, theta, steps, length)` -> theta(1) of d theta/dt = length h (notebook 07)."""
    theta0 = torch.tensor([1.0, -2.0, 0.5]).double()
    fields = {"h = -theta": lambda t, x: -x, "h = t theta": lambda t, x: t * x}
    for name, h in fields.items():
        for steps, length in ((1, 1.0), (4, 1.0), (4, 1.5)):
            right = solvers.solve(lambda t, x: length * h(t, x), theta0, steps=steps)[-1]  # noqa: B023
            hint = (
                f"(For {name}, {steps} steps, length {length}: step k goes from t = k / steps "
                "by length h(t, theta) / steps.)"
            )
            expect(follow(h, theta0, steps, length), right, hint)


@check("with fewer steps the first one jumps beyond s, and the path swings around it.")
def check_fewest_steps(answer: object) -> None:
    """The fewest Euler steps from 0 to 1 that never pass s on dx/dt = 3 (s - x) (07)."""
    hint = (
        "(A step multiplies the distance to s by 1 - 3 / steps: when is that not negative?)"
    )
    expect(answer, 3, hint)


@check("at a knot your velocity turns to the piece that begins there.")
def check_piece_velocity(velocity: Callable[..., Tensor]) -> None:
    """`velocity(times, thetas, t)` of the piecewise-linear path (notebook 05)."""
    times = torch.tensor([0.0, 0.1, 0.5, 1.0])
    thetas = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 4.0], [-1.0, 4.0]])
    right = interpolants.PiecewiseLinear(times, thetas).derivative
    for t in (0.05, 0.3, 0.9, 0.0, 0.1, 0.5):
        hint = (
            f"(Knots at 0, 0.1, 0.5 and 1, t = {t}: rise over run of the piece around t.)"
        )
        expect(velocity(times, thetas, t), right(torch.tensor([t]))[0], hint)


@check("the bend at one knot is felt from the start of the spline to its end.")
def check_first_velocity(velocity: Callable[[Tensor], Tensor]) -> None:
    """`velocity(knots)` at t = 0 of the natural spline; knots at 0, 1/2 and 1 (notebook 05)."""
    times = torch.tensor([0.0, 0.5, 1.0]).double()
    for rows in ([[0.0, 1.0], [1.0, 1.0], [1.0, 4.0]], [[2.0], [-1.0], [-4.0]]):
        knots = torch.tensor(rows).double()
        hint = (
            f"(Knots {rows}, h = 1/2. First M at the middle knot, where M is 0 at both ends; "
            "then the slope of the first piece minus h M / 6.)"
        )
        right = interpolants.Cubic(times, knots).derivative(times[:1])[0]
        expect(velocity(knots.clone()), right, hint)


@check(
    "the difficulty of the tasks is gone from your interval; what is left is the method."
)
def check_paired(paired: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """`paired(a, b)` -> mean of b - a and half of its 95 % interval (notebook 08)."""
    g = torch.Generator().manual_seed(8)
    difficulty = torch.rand(40, generator=g, dtype=torch.float64)
    a, b = difficulty, difficulty + 0.02 + 0.01 * torch.rand(40, generator=g)
    d = b - a
    right = torch.tensor([float(d.mean()), tables.interval(d)])
    found = paired(a, b)
    if not isinstance(found, tuple) or len(found) != 2 or any(x is ... for x in found):
        raise NotYet(f"found {found!r:.60}, expected two numbers: a mean and a half width.")
    hint = (
        "(40 tasks: first take the difference of each task, then its mean and spread, n - 1; "
        "Student's t of 39 degrees of freedom is 2.02, not 1.96.)"
    )
    expect([float(x) for x in found], right, hint, rtol=1e-4)


@check("you know what such networks lack and where a few images can add it.")
def check_most_helped(answer: tuple[object, Mapping[str, float]]) -> None:
    """(three domains, gain of every domain) -> two of them among the four largest (08)."""
    names, gains = answer
    if names is ... or names is None:
        raise NotYet(
            f"there is no answer yet: found {names}, expected three of {sorted(gains)}."
        )
    if len(set(names)) != 3 or set(names) - set(gains):
        raise NotYet(f"found {names}, expected three different ones of {sorted(gains)}.")
    best = sorted(gains, key=gains.get, reverse=True)[:4]
    if len(hits := set(names) & set(best)) < 2:
        raise NotYet(
            f"found {len(hits)} of your three among the four that gain most, expected two. "
            "Think of images that differ from photographs, in which a few strokes decide."
        )


@check(
    "one pass forward against all passes forward and back: only fewer images make it less."
)
def check_look_share(share: Callable[[int, int, int], float]) -> None:
    """`share(n_seen, n_images, passes)` -> of full fine-tuning's operations (notebook 09)."""
    for n_seen, n_images, passes in ((400, 400, 100), (100, 400, 100), (25, 25, 20)):
        hint = (
            f"(A look at {n_seen} of {n_images} images, fine-tuning in {passes} passes of three "
            "times forward: divide.)"
        )
        right = n_seen / (3 * passes * n_images)
        expect(share(n_seen, n_images, passes), right, hint)


@check("what was paid once, over what each task saves, rounded up.")
def check_break_even(tasks: Callable[[float, float, float], int]) -> None:
    """`tasks(offline, fine_tuning, hyperflow)` -> smallest n that has paid off (notebook 09)."""
    for offline, tuning, flow, right in ((100, 3, 1, 50), (100, 4, 1, 34), (7, 8, 0.5, 1)):
        hint = (
            f"({offline} offline, {tuning} a fine-tuning, {flow} a task with HyperFlow: solve "
            "C + n H = n F for n and round up.)"
        )
        expect(tasks(offline, tuning, flow), right, hint)
