"""Checks of the answers in notebooks 00 to 09."""

import zlib
from collections.abc import Mapping

import torch

from .. import interpolants, solvers
from ..base import stream
from ..evaluation import tables
from .checking import Cases, NotYet, check, table


@table(
    "your rule gives every image to the class whose mean is nearest.",
    "Four images of two pixels, means (0, 0), (10, 0), (0, 1): take the argmin over the means, "
    "dim=1.",
)
def check_nearest_mean() -> Cases:
    """`nearest(images, means)` -> for each image the number of the nearest mean (notebook 00)."""
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 1.0]])
    images = torch.tensor([[6.0, 0.0], [0.1, 0.6], [0.2, 0.1], [4.0, 0.9]])
    yield (images, means), torch.tensor([1, 2, 0, 2])


@table(
    "a difference over the time that it took: what a drift learns from.",
    "{0} steps from t = 0 to 1: each takes 1 / {0}. How far does it go, and how long does it take?",
)
def check_recorded_velocity() -> Cases:
    """`velocity(path)` of steps + 1 rows, at equal times from 0 to 1 -> one row a step (00)."""
    for steps, dim in ((4, 2), (10, 3)):
        path = torch.randn(steps + 1, dim, generator=stream(0, "path", steps))
        yield (path,), path.diff(dim=0) * steps, steps


@table(
    "your step is Heun's: halve it and the error falls to a quarter.",
    "For {} at t = {}, x = (1, -2, 0.5) and dt = 0.25: average both velocities.",
)
def check_heun_step() -> Cases:
    """`step(f, t, x, dt)` -> the state after one step of Heun's method (notebook 01)."""
    x, dt = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor(0.25).double()
    fields = {
        "dx/dt = -x": lambda t, x: -x,
        "dx/dt = t x": lambda t, x: t * x,
        "dx/dt = x^2 + t": lambda t, x: x**2 + t,
    }
    for name, f in fields.items():
        for t in (torch.tensor(0.0).double(), torch.tensor(0.5).double()):
            yield (f, t, x, dt), solvers.heun_step(f, t, x, dt), name, float(t)


@table(
    "beyond 2 / (largest curvature) every step makes the steep direction larger.",
    "One step multiplies a direction of curvature c by 1 - lr c: when is that -1?",
    rtol=1e-3,
)
def check_largest_step() -> Cases:
    """The learning rate at which GD on curvatures (1, 25) stops shrinking (notebook 01)."""
    yield (), 2 / 25


@table(
    "the smallest class decides, and no class gives more than ten queries.",
    "Classes of {} images: half of the smallest class, rounded down, and at most 10.",
)
def check_query_rule() -> Cases:
    """`n_query(counts)` -> Meta-Dataset's number of queries of each class (notebook 02)."""
    known = (([60] * 8, 10), ([600, 7, 40], 3), ([30, 13, 90], 6), ([2, 2], 1))
    for counts, right in known:
        yield (torch.tensor(counts),), right, counts


@table(
    "half the interval costs four times the episodes.",
    "std = {}, half width {}: the first n from 3 on for which t std / sqrt(n) is no wider; t, of "
    "n - 1 degrees of freedom, grows when n is small.",
)
def check_episodes_needed() -> Cases:
    """`needed(std, half_width)` -> smallest n with t std / sqrt(n) <= half_width (02)."""
    yield (0.02, 0.02), 7
    yield (0.08, 0.01), 249
    yield (0.08, 0.005), 986


@table(
    "queries and keys stay, values move.",
    "Of {}. Thirds are 0: queries, 1: keys, 2: values; one of them is still a tuple: (1,).",
)
def check_value_biases() -> Cases:
    """`match(name)` -> (2,) for the attention's qkv biases, else False (notebook 03)."""
    yield ("blocks.3.attn.qkv.bias",), (2,)
    yield ("blocks.3.attn.proj.bias",), False
    yield ("blocks.3.attn.qkv.weight",), False


@table(
    "whatever its size, a gradient beyond eps becomes a step of the length lr.",
    "Gradients 3, -0.02, 1e-8, -1e-10 and 0, lr {1}, eps {2}: the gradient over its own size "
    "plus eps. Which way does a step go?",
)
def check_first_adam_step() -> Cases:
    """`step(gradient, lr, eps)` -> how far Adam's first step goes, from rest (notebook 03)."""
    gradient = torch.tensor([3.0, -0.02, 1e-8, -1e-10, 0.0], dtype=torch.float64)
    for lr, eps in ((0.03, 1e-8), (0.01, 1e-6)):
        theta = torch.zeros(5).double().requires_grad_()
        theta.grad = gradient.clone()
        torch.optim.Adam([theta], lr=lr, eps=eps).step()
        yield (gradient, lr, eps), theta.detach()


@table(
    "each row gets the bias of its own task, and so each task its own gradient.",
    "x: 5 images of 3 tokens, 3 tasks. biases[task] is 5 x 2: where is an axis lacking?",
)
def check_row_bias() -> Cases:
    """`rows(x, weight, biases, task)` -> W x + b[task of the row], on all tokens (04)."""
    g = stream(4, "rows")
    x, weight = torch.randn(5, 3, 4, generator=g), torch.randn(2, 4, generator=g)
    biases, task = torch.randn(3, 2, generator=g), torch.tensor([2, 0, 0, 1, 2])
    right = torch.stack([x[i] @ weight.T + biases[task[i]] for i in range(5)])
    yield (x, weight, biases, task), right


@table(
    "what is not marked is not there, and what differs from its mark is damaged.",
    "Here {}.",
)
def check_to_make() -> Cases:
    """`to_make(groups, marks, checksum)` -> numbers of the groups to make again (notebook 04)."""
    whole = [b"theta 0", b"theta 1", b"theta 2", b"theta 3"]
    marks = [zlib.crc32(group) for group in whole]
    for groups, noted, right, what in (
        (whole, marks, [], "all four are sound"),
        ([whole[0], b"the", *whole[2:]], marks, [1], "group 1 was cut short"),
        (whole, [*marks[:2], 0, marks[3]], [2], "the run died before the mark of group 2"),
        ([*whole[:3], b""], [*marks[:3], 0], [3],
         "of group 3 nothing is there, and an empty file's checksum is 0"),
    ):  # fmt: skip
        yield (list(groups), list(noted), zlib.crc32), right, what


@table(
    "at a knot your velocity turns to the piece that begins there.",
    "Knots at 0, 0.1, 0.5 and 1, t = {2}: rise over run of the piece around t.",
)
def check_piece_velocity() -> Cases:
    """`velocity(times, thetas, t)` of the piecewise-linear path (notebook 05)."""
    times = torch.tensor([0.0, 0.1, 0.5, 1.0])
    thetas = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 4.0], [-1.0, 4.0]])
    path = interpolants.PiecewiseLinear(times, thetas)
    for t in (0.05, 0.3, 0.9, 0.0, 0.1, 0.5):
        yield (times, thetas, t), path.derivative(torch.tensor([t]))[0]


@table(
    "the bend at one knot is felt from the start of the spline to its end.",
    "Knots {}, h = 1/2. First M at the middle knot, where M is 0 at both ends; then the slope of "
    "the first piece minus h M / 6.",
)
def check_first_velocity() -> Cases:
    """`velocity(knots)` at t = 0 of the natural spline; knots at 0, 1/2 and 1 (notebook 05)."""
    times = torch.tensor([0.0, 0.5, 1.0]).double()
    for rows in ([[0.0, 1.0], [1.0, 1.0], [1.0, 4.0]], [[2.0], [-1.0], [-4.0]]):
        knots = torch.tensor(rows).double()
        yield (knots,), interpolants.Cubic(times, knots).derivative(times[:1])[0], rows


@table(
    "on the straight line the point gives its own velocity away, whatever the task.",
    "theta = theta0 + t v, here with t = {} and theta0 = (1, -2, 0.5): solve for v.",
    rtol=1e-4,
)
def check_leak() -> Cases:
    """`leak(theta, theta0, t)` -> velocity of the straight line through both (notebook 06)."""
    theta0, v = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, 4.0, -1.0])
    for t in (0.1, 0.5, 1.0):
        yield (theta0 + t * v, theta0, torch.tensor(t)), v, t


@table(
    "you can now say of every arrow how much of it you see.",
    "For v = {} and axes {}: divide two lengths.",
    rtol=1e-4,
)
def check_share() -> Cases:
    """`share(axes, v)` -> length of v in the plane over its whole length (notebook 06)."""
    axes = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.8, 0.0]])
    for v, right in (((3, 0, 0, 4), 0.6), ((0, 3, 4, 0), 1.0), ((0, 4, -3, 0), 0.0)):
        yield (axes, torch.tensor(v).float()), right, v, axes.tolist()


@table(
    "Euler's method with a length factor: all that HyperFlow does after its forward pass.",
    "For {}, {} steps, length {}: step k goes from t = k / steps by length h(t, theta) / steps.",
)
def check_follow() -> Cases:
    """`follow(h, theta, steps, length)` -> theta(1) of d theta/dt = length h (notebook 07)."""
    theta0 = torch.tensor([1.0, -2.0, 0.5]).double()
    fields = {"h = -theta": lambda t, x: -x, "h = t theta": lambda t, x: t * x}
    for name, h in fields.items():
        for steps, length in ((1, 1.0), (4, 1.0), (4, 1.5)):
            right = solvers.solve(lambda t, x: length * h(t, x), theta0, steps=steps)[-1]  # noqa: B023
            yield (h, theta0, steps, length), right, name, steps, length


@table(
    "with fewer steps the first one jumps beyond s, and the path swings around it.",
    "A step multiplies the distance to s by 1 - 3 / steps: when is that not negative?",
)
def check_fewest_steps() -> Cases:
    """The fewest Euler steps from 0 to 1 that never pass s on dx/dt = 3 (s - x) (07)."""
    yield (), 3


@table(
    "the difficulty of the tasks is gone from your interval; what is left is the method.",
    "40 tasks: first take the difference of each task, then its mean and spread, n - 1; "
    "Student's t of 39 degrees of freedom is 2.02, not 1.96.",
    rtol=1e-4,
)
def check_paired() -> Cases:
    """`paired(a, b)` -> mean of b - a and half of its 95 % interval (notebook 08)."""
    g = stream(8, "tasks")
    difficulty = torch.rand(40, generator=g, dtype=torch.float64)
    a, b = difficulty, difficulty + 0.02 + 0.01 * torch.rand(40, generator=g)
    yield (a, b), torch.tensor([float((b - a).mean()), tables.interval(b - a)])


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


@table(
    "one pass forward against all passes forward and back: only fewer images make it less.",
    "A look at {} of {} images, fine-tuning in {} passes of three times forward: divide.",
)
def check_look_share() -> Cases:
    """`share(n_seen, n_images, passes)` -> of full fine-tuning's operations (notebook 09)."""
    for seen, n, passes in ((400, 400, 100), (100, 400, 100), (25, 25, 20)):
        yield (seen, n, passes), seen / (3 * passes * n)


@table(
    "what was paid once, over what each task saves, rounded up.",
    "{} offline, {} a fine-tuning, {} a task with the learned flow: solve C + n H = n F for n and "
    "round up.",
)
def check_break_even() -> Cases:
    """`tasks(offline, fine_tuning, hyperflow)` -> smallest n that has paid off (notebook 09)."""
    yield (100, 3, 1), 50
    yield (100, 4, 1), 34
    yield (7, 8, 0.5), 1
