"""A check passes the right answer alone, and says what it saw of the others."""

import itertools
import math

import pytest
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from hyperlab import exercises, solvers
from hyperlab.exercises import NotYet, Verdict

GAINS = {name: float(k) for k, name in enumerate("abcdefgh")}
T_39 = 2.0226909  # Student's t of 39 degrees of freedom


def recorded_velocity(path, times=1):
    return times * path.diff(dim=0) * (len(path) - 1)


def adam_step(gradient, lr, eps):
    return -lr * gradient / (gradient.abs() + eps)


def row_bias(x, weight, biases, task):
    return x @ weight.T + biases[task][:, None]


def to_make(groups, marks, checksum):
    both = enumerate(zip(groups, marks, strict=True))
    return [k for k, (group, mark) in both if not mark or checksum(group) != mark]


def first_velocity(knots, bends=1.5, h=0.5):
    start, middle, end = knots
    return (middle - start) / h - bends * (start - 2 * middle + end) / h / 6


def episodes_needed(std, half):
    narrow = lambda n: stats.t.ppf(0.975, n - 1) * std / n**0.5 <= half
    return next(n for n in itertools.count(3) if narrow(n))


def normal_n(std, half):
    return math.ceil((1.96 * std / half) ** 2)


def follow(h, theta, steps, length):
    for k in range(steps):
        theta = theta + length * h(torch.tensor(k / steps), theta) / steps
    return theta


def piece_velocity(times, thetas, t, below=torch.le):
    k = int(below(times, t).sum()) - 1
    return (thetas[k + 1] - thetas[k]) / (times[k + 1] - times[k])


def paired(a, b, factor=T_39):
    return (b - a).mean(), factor * (b - a).std() / len(a) ** 0.5


def unpaired(a, b):
    return b.mean() - a.mean(), 2.02 * (a.var() + b.var()).sqrt() / len(a) ** 0.5


def share(axes, v):
    return (axes @ v).norm() / v.norm()


def swap_units(state):
    for name in ("fc1.weight", "fc1.bias"):
        state[name][[0, 1]] = state[name][[1, 0]]
    state["fc2.weight"][:, [0, 1]] = state["fc2.weight"][:, [1, 0]]
    return state


def swap_half(state):
    state["fc1.weight"][[0, 1]] = state["fc1.weight"][[1, 0]]
    return state


def barrier(losses):
    straight = torch.lerp(losses[0], losses[-1], torch.linspace(0, 1, len(losses)).double())
    return float((losses - straight).max())


def kl(mean, log_var):
    return (mean.square() + log_var.exp() - 1 - log_var).sum() / 2


def coupled(x0, x1):
    starts, targets = linear_sum_assignment(torch.cdist(x0, x1).square())
    return x0[torch.tensor(starts)[torch.tensor(targets).argsort()]]


def a_row_of_each_target(x0, x1):
    return x0[torch.tensor(linear_sum_assignment(torch.cdist(x1, x0).square())[1])]


def label_vectors(n):
    return F.normalize(torch.eye(n) - 1 / n)


def set_vector(features, labels, n_classes):
    return torch.cat([features[labels == c].mean(0) for c in range(n_classes)])


def own_mean(matrix):
    return sum(matrix[name][name] for name in matrix) / len(matrix)


def diagonal(matrix):
    rest = [x for name, row in matrix.items() for at, x in row.items() if at != name]
    return own_mean(matrix) - sum(rest) / len(rest)


def walk(velocity, x, steps, knot):
    for k in range(steps):
        x = x.detach() if k == knot else x
        x = x + velocity(k / steps, x) / steps
    return x.detach() if knot == steps else x


def without_graph(velocity, x, steps, knot):
    for k in range(steps):
        with torch.set_grad_enabled(k >= knot):
            x = x + velocity(k / steps, x) / steps
    return x


def mean_head(features):
    c = features.mean(1)
    return torch.cat([c, -c.square().sum(1, keepdim=True) / 2], 1)


def chosen(logits, labels, k):
    n = logits.shape[0]
    rows = F.cross_entropy(logits.flatten(0, 1), labels.repeat(n), reduction="none")
    return rows.view(n, -1).mean(1).topk(k, largest=False).indices


def row_state(module, row):
    named = dict(module.named_parameters())
    parts = row.split([p.numel() for p in named.values()])
    return {n: x.view(p.shape) for (n, p), x in zip(named.items(), parts, strict=True)}


# Check -> the right answer, then wrong ones; that of a stub, `...`, is wrong everywhere.
ANSWERS = {
    "nearest_mean": [
        lambda x, means: torch.cdist(x, means).argmin(1),
        lambda x, means: (x @ means.T).argmax(1),
        torch.cdist,
    ],
    "recorded_velocity": [
        recorded_velocity,
        lambda p: p.diff(dim=0),
        lambda p: p.diff(dim=0) * len(p),
        lambda p: recorded_velocity(p, -1),
    ],
    "heun_step": [
        solvers.heun_step,
        solvers.euler_step,
        lambda f, t, x, dt: x + dt * f(t + dt / 2, x + dt / 2 * f(t, x)),
    ],
    "largest_step": [0.08, 0.04, 2.0, None],
    "query_rule": [
        lambda n: min(10, int(n.min()) // 2),
        lambda n: 10,
        lambda n: int(n.min()) // 2,
    ],
    "episodes_needed": [
        episodes_needed,
        normal_n,
        lambda s, h: max(3, normal_n(s, h)),
        lambda s, h: episodes_needed(s, h) + 1,
        lambda s, h: s / h,
    ],
    "value_biases": [
        lambda name: name.endswith("qkv.bias") and (2,),
        lambda name: (2,),
        lambda name: name.endswith("qkv.bias") and (1,),
    ],
    "first_adam_step": [
        adam_step,
        lambda g, lr, eps: -lr * g.sign(),
        lambda g, lr, eps: -lr * g,
        lambda g, lr, eps: -adam_step(g, lr, eps),
        lambda g, lr, eps: -lr * g / (g.square() + eps).sqrt(),
    ],
    "row_bias": [row_bias, lambda x, w, b, task: x @ w.T + b[0]],
    "to_make": [
        to_make,
        lambda groups, marks, crc: [k for k, mark in enumerate(marks) if not mark],
        lambda groups, marks, crc: [k for k, x in enumerate(groups) if not x],
        lambda groups, marks, crc: [k for k, x in enumerate(groups) if crc(x) != marks[k]],
    ],
    "piece_velocity": [
        piece_velocity,
        lambda times, thetas, t: thetas[-1] - thetas[0],
        lambda times, thetas, t: thetas[1] - thetas[0],
    ],
    "first_velocity": [
        first_velocity,
        lambda knots: first_velocity(knots, bends=0),
        lambda knots: first_velocity(knots, bends=1),
        lambda knots: first_velocity(knots, h=1.0),
    ],
    "leak": [lambda x, x0, t: (x - x0) / t, lambda x, x0, t: x - x0],
    "share": [share, lambda a, v: share(a, v) ** 2, lambda a, v: (a @ v).norm()],
    "follow": [
        follow,
        lambda h, x, n, length: follow(h, x, n, 1.0),
        lambda h, x, n, length: follow(h, x, 1, length),
    ],
    "fewest_steps": [3, 2, 4],
    "paired": [
        paired,
        unpaired,
        lambda a, b: paired(a, b, 1.96),
        lambda a, b: paired(b, a),
        lambda a, b: (0.025, ...),
    ],
    "most_helped": [
        (names, GAINS) for names in ("hga", "abh", "hhg", "hgz", ["h", "h", "g"])
    ],
    "look_share": [
        lambda seen, n, passes: seen / (3 * passes * n),
        lambda seen, n, passes: seen / (passes * n),
        lambda seen, n, passes: 1 / (3 * passes),
    ],
    "break_even": [
        lambda c, f, h: math.ceil(c / (f - h)),
        lambda c, f, h: c / (f - h),
        lambda c, f, h: math.ceil(c / f),
    ],
    "swap_units": [swap_units, swap_half, lambda state: state],
    "barrier": [barrier, torch.max, lambda x: x.max() - x[0]],
    "kl": [kl, lambda m, v: 2 * kl(m, v), lambda m, v: m.square().sum() / 2],
    "columns": [
        lambda w, order: w.unflatten(1, (len(order), -1))[:, order].flatten(1),
        lambda w, order: w.unflatten(1, (-1, len(order)))[:, :, order].flatten(1),
        lambda w, order: w[:, order],
        lambda w, order: w,
    ],
    "coupling": [
        coupled,
        lambda x0, x1: x0[torch.cdist(x1, x0).argmin(1)],
        lambda x0, x1: x0,
        lambda x0, x1: coupled(x1, x0),
    ],
    "iou": [
        lambda a, b: (a & b).sum() / (a | b).sum(),
        lambda a, b: (a == b).float().mean(),
        lambda a, b: (a & b).float().mean(),
    ],
    "label_vectors": [label_vectors, torch.eye, lambda n: torch.eye(n) - 1 / n],
    "set_vector": [set_vector, lambda f, y, n: f.mean(0)],
    "diagonal": [diagonal, own_mean],
    "stopped_walk": [
        walk,
        lambda f, x, steps, knot: walk(f, x, steps, -1),
        lambda f, x, steps, knot: walk(f, x, steps, steps),
        lambda f, x, steps, knot: walk(f, x, steps, min(knot + 1, steps)),
        lambda f, x, steps, knot: walk(f, x, steps + 1, knot),
        lambda *_: 3.0,
    ],
    "equal_steps": [
        lambda updates, update, n, step: updates * update // (n * step),
        lambda updates, update, n, step: updates * update // step,
        lambda updates, update, n, step: updates * update / (n * step),
        lambda updates, update, n, step: updates,
    ],
    "mean_head": [
        mean_head,
        lambda x: mean_head(x) * torch.tensor([1.0] * x.shape[2] + [0.0]),
        lambda x: mean_head(x)[:, :-1],
        lambda x: -mean_head(x),
    ],
    "chosen": [
        chosen,
        lambda x, y, k: chosen(-x, y, k),
        lambda x, y, k: torch.arange(k),
        lambda x, y, k: (x.argmax(2) == y).float().mean(1).topk(k).indices,
    ],
    "on_white": [
        lambda x: x[3] * x[:3] + (1 - x[3]),
        lambda x: x[:3],
        lambda x: x[3] * x[:3],
        lambda x: x[3] + (1 - x[3]) * x[:3],
    ],
    "row_state": [
        row_state,
        lambda module, row: row_state(module, row.flip(0)),
        lambda module, row: {n: x.flatten() for n, x in row_state(module, row).items()},
        lambda module, row: {"weight": row[:6].view(2, 3)},
    ],
}
ALSO_RIGHT = {
    "coupling": a_row_of_each_target,  # what the hint says
    "stopped_walk": without_graph,
    "mean_head": lambda x: 2 * mean_head(x) + 1,  # the same answers
}
VALUES = ("largest_step", "fewest_steps", "most_helped")  # answers that are no functions


def verdict(name, answer):
    return getattr(exercises, f"check_{name}")(answer)


def test_every_check_has_answers_here():
    assert {f"check_{n}" for n in ANSWERS} == {n for n in dir(exercises) if "check_" in n}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_right_answer_passes_alone(name):
    right, *wrong = ANSWERS[name]
    for answer in (right, ALSO_RIGHT.get(name, right)):
        assert verdict(name, answer).passed, verdict(name, answer)
    if name not in VALUES:
        wrong += [lambda *_: ..., lambda *_: None]
    for answer in wrong:
        assert not verdict(name, answer).passed


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("largest_step", ..., "there is no answer yet: found ..., expected a number"),
        ("fewest_steps", 2, "1 - 3 / steps"),
        ("most_helped", (..., GAINS), "no answer yet: found Ellipsis, expected three of"),
        ("coupling", lambda x0, x1: x0, "a row of each target"),
        ("stopped_walk", lambda f, x, n, knot: walk(f, x, n, -1), "detach"),
        ("label_vectors", torch.eye, "every other"),
        ("label_vectors", lambda n: ..., "expected a tensor of 2 rows"),
        ("label_vectors", lambda n: torch.eye(n) - 1 / n, "1 with itself"),
        ("set_vector", lambda f, y, n: f.mean(0), "shape (3,), expected (6,)"),
        ("set_vector", lambda f, y, n: ..., "no answer yet"),
        ("diagonal", own_mean, "(2 data sets: mean of 2 entries minus that of 2.)"),
        ("recorded_velocity", lambda p: p, "(4 steps from t = 0 to 1: each takes 1 / 4."),
        (
            "row_state",
            lambda module, row: {},
            "expected a dictionary of ['weight', 'bias']",
        ),
        ("swap_units", swap_half, "Look at fc1.bias."),
        ("value_biases", lambda name: (2,), "found (2,), expected False. (Of blocks.3"),
    ],
)
def test_a_verdict_says_what_is_missing(name, answer, says):
    assert not verdict(name, answer).passed and says in verdict(name, answer).message


def test_a_verdict_begins_with_what_the_reader_wants_to_know():
    assert repr(Verdict(passed=True, message="good")) == "passed: good"
    assert repr(Verdict(passed=False, message="found 3")) == "not yet: found 3"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, r"found None, expected numbers of shape \(2,\). try"),
        (..., "no answer"),
        ("three", "found a str, expected numbers"),
        (torch.zeros(3), r"shape \(3,\), expected \(2,\)"),
        ([1.0, 3.0], "found 1, 3, expected 1, 2. try"),
        ([1.0, float("nan")], "nan"),
        ([1.0, 2.5], "found 1, 2.5"),
    ],
)
def test_what_is_not_right_is_described(found, message):
    with pytest.raises(NotYet, match=message):
        exercises.expect(found, torch.tensor([1, 2]), "try")


def test_the_right_numbers_pass_in_any_form():
    for found in ([1, 2], (1.0, 2.0), torch.tensor([1.0, 2.0])):
        exercises.expect(found, torch.tensor([1.0, 2.0]), "")


def test_an_error_of_the_readers_own_passes_through():
    with pytest.raises(ZeroDivisionError):
        exercises.check_heun_step(lambda f, t, x, dt: 1 / 0)
    with pytest.raises(AttributeError, match="no check 'check_all'; have"):
        exercises.check_all  # noqa: B018


def test_the_order_of_the_parameters_is_that_of_functional_call():
    module = torch.nn.Linear(3, 2)
    x, row = torch.ones(1, 3), torch.arange(8.0)
    logits = torch.func.functional_call(module, row_state(module, row), (x,))
    assert logits.tolist() == [[3.0 + 6.0, 12.0 + 7.0]]
