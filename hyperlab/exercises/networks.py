"""Checks of the answers in notebooks 10 to 16."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import Velocity, stream
from ..models import cnn
from ..weights import align
from ..weights.couplings import optimal
from .checking import Cases, NotYet, check, expect, table

Walk = Callable[
    [Velocity, Tensor, int, int], Tensor
]  # (velocity, x, steps, knot) -> x at 1


@table(
    "rows here, columns there: the two changes cancel.",
    "What does the next layer read of a unit that has moved?",
)
def check_swap_units() -> Cases:
    """`swap(state)` -> the same function, hidden units 0 and 1 of fc1 swapped (notebook 10)."""
    net = cnn.cnn_small()
    w = torch.randn(1, net.n_params, generator=stream(10, "swap"))
    orders = [torch.arange(layer.n_out)[None] for layer in net.layers[:-1]]
    signs = [torch.ones(order.shape) for order in orders]
    orders[3][0, :2] = torch.tensor([1, 0])
    right = net.unflatten(align.relabel(net, w, align.Relabelling(orders, signs))[0])
    yield ({name: x.clone() for name, x in net.unflatten(w[0]).items()},), right


@table(
    "the hill above the straight line between the two ends.",
    "Losses {}: subtract the straight line from the first to the last.",
)
def check_barrier() -> Cases:
    """`barrier(losses)` -> of a walk in equal steps, both ends included (notebook 10)."""
    for losses in ([1.0, 2.0, 1.0], [0.5, 0.5, 1.5, 1.0], [2.0, 1.0, 0.0], [0.0, 1.0, 4.0]):
        values = torch.tensor(losses, dtype=torch.float64)
        straight = torch.lerp(*values[[0, -1]], torch.linspace(0, 1, len(losses)).double())
        yield (values,), (values - straight).max(), losses


@table(
    "far codes cost, and so do codes that are too sharp.",
    "mean {}, log_var {}: half of mean^2 + exp(log_var) - 1 - log_var.",
)
def check_kl() -> Cases:
    """`kl(mean, log_var)` -> KL(N(mean, exp(log_var)) | N(0, 1)), summed (notebook 11)."""
    for pair in (([0.0, 0.0], [0.0, 0.0]), ([2.0], [0.0]), ([0.0, 1.0], [-2.0, 1.0])):
        mean, log_var = (torch.tensor(numbers).double() for numbers in pair)
        code = torch.distributions.Normal(mean, log_var.mul(0.5).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
        right = torch.distributions.kl_divergence(code, prior).sum()
        yield (mean, log_var), right, *pair


@table(
    "a channel takes all of its pixels along.",
    "{0} channels of {1} pixels each: the first {1} columns belong to channel 0.",
)
def check_columns() -> Cases:
    """`columns(weight, order)` -> what a linear map behind the flatten becomes (notebook 11)."""
    g = stream(11, "columns")
    for channels, pixels in ((4, 9), (15, 4)):
        weight = torch.randn(20, channels * pixels, generator=g)
        order = torch.randperm(channels, generator=g)
        right = weight.reshape(20, channels, pixels)[:, order].flatten(1)
        yield (weight, order), right, channels, pixels


@table(
    "every target keeps one start, and all ways together are as short as can be.",
    "{0} points: scipy.optimize.linear_sum_assignment of the {0} x {0} squared distances, a row "
    "of each target, gives for each target the start that it keeps.",
)
def check_coupling() -> Cases:
    """`couple(x0, x1)` -> x0 in the order that makes the sum of |x0 - x1|^2 least (notebook 12)."""
    g = stream(12, "points")
    for n, dim in ((2, 1), (6, 2), (20, 8)):
        x0, x1 = torch.randn(2, n, dim, generator=g)
        yield (x0, x1), optimal(x0, x1), n


@table(
    "shared mistakes, over all mistakes that either makes.",
    "Wrong on {} and on {}: how many images in both, how many in any?",
)
def check_iou() -> Cases:
    """`iou(a, b)` of two rows of "is it wrong?" (notebook 12)."""
    for a, b, right in (
        ("1100", "1010", 1 / 3),
        ("111", "111", 1.0),
        ("1000", "0111", 0.0),
    ):
        rows = tuple(torch.tensor([mark == "1" for mark in word]) for word in (a, b))
        yield rows, right, a, b


@check("the same angle between any two: no label is nearer to one than to another.")
def check_label_vectors(label_vectors: Callable[[int], Tensor]) -> None:
    """`label_vectors(n)` -> n rows of length 1, each two of one inner product, sum 0 (13)."""
    for n in (2, 3, 10):
        rows = label_vectors(n)
        if not isinstance(rows, Tensor) or rows.ndim != 2 or len(rows) != n:
            raise NotYet(f"found {rows!r:.40}, expected a tensor of {n} rows.")
        inner = rows.double() @ rows.double().T
        right = torch.full((n, n), -1 / (n - 1), dtype=torch.float64).fill_diagonal_(1)
        hint = (
            f"(Inner products for n = {n}: 1 with itself, -1 / {n - 1} with every other. Take "
            "the mean row off the identity, then make the rows 1 long.)"
        )
        if not torch.allclose(inner, right, atol=1e-5):
            expect(inner, right, hint)


@table(
    "the order of the images is forgotten, that of the classes is kept.",
    "{2} classes: the mean feature of class 0, then that of class 1, ..., as one vector.",
)
def check_set_vector() -> Cases:
    """`set_vector(features, labels, n_classes)` -> class means side by side, by label (13)."""
    g = stream(13, "set vector")
    for n_classes, n in ((2, 5), (4, 12)):
        features = torch.randn(n, 3, generator=g)
        labels = (torch.arange(n) % n_classes)[torch.randperm(n, generator=g)]
        means = [features[labels == c].mean(0) for c in range(n_classes)]
        yield (features, labels, n_classes), torch.cat(means)


@table(
    "what the shown images gain over those of other data sets.",
    "{0} data sets: mean of {0} entries minus that of {1}.",
)
def check_diagonal() -> Cases:
    """`diagonal(matrix)` -> mean accuracy on the own data set minus that on the others (13)."""
    a, b = {"a": 0.8, "b": 0.2, "c": 0.1}, {"a": 0.1, "b": 0.6, "c": 0.3}
    three = {"a": a, "b": b, "c": {"a": 0.2, "b": 0.0, "c": 0.4}}
    for matrix in ({"a": {"a": 0.9, "b": 0.1}, "b": {"a": 0.3, "b": 0.7}}, three):
        own = [matrix[name][name] for name in matrix]
        rest = [x for name, row in matrix.items() for at, x in row.items() if at != name]
        right = sum(own) / len(own) - sum(rest) / len(rest)
        yield (matrix,), right, len(own), len(rest)


@check("the same end, and a gradient that knows the last steps alone.")
def check_stopped_walk(walk: Walk) -> None:
    """`walk(velocity, x, steps, knot)` -> Euler's end; no gradient before step `knot` (14)."""
    for steps, knot in ((4, 0), (5, 2), (6, 6)):
        a, x0 = torch.tensor([0.7, -1.2]).requires_grad_(), torch.tensor([1.0, 2.0])

        def velocity(t: Tensor | float, x: Tensor, a: Tensor = a) -> Tensor:
            return a * x * (1 + t)

        ends = walk(velocity, x0, steps, knot), _walk(velocity, x0, steps, knot)
        hint = f"({steps} steps, the first {knot} without gradient: "
        expect(*ends, hint + f"step k goes from t = k / {steps}, 1 / {steps} far.)")
        hint += "detach x when step `knot` begins, or if no step follows, at the end.)"
        expect(*(_slope(end, a) for end in ends), hint)


def _walk(velocity: Velocity, x: Tensor, steps: int, knot: int) -> Tensor:
    for k in range(steps + 1):
        x = x.detach() if k == knot else x
        x = x + velocity(torch.tensor(k / steps), x) / steps if k < steps else x
    return x


def _slope(end: Tensor, a: Tensor) -> Tensor:
    if not isinstance(end, Tensor):
        raise NotYet(f"found a {type(end).__name__}, expected a tensor.")
    if not end.requires_grad:
        return torch.zeros_like(a)
    (slope,) = torch.autograd.grad(end.sum(), a, allow_unused=True, materialize_grads=True)
    return slope


@table(
    "every network pays for its own steps, and no step more than the generator had.",
    "{} updates of {} operations; {} networks, {} operations a step of one: all their steps "
    "together may cost no more.",
)
def check_equal_steps() -> Cases:
    """`equal_steps(updates, update_flops, n, step_flops)` -> whole steps for each network (14)."""
    for updates, update, n, step in ((100, 1_500, 50, 60), (7, 10, 3, 9), (10, 12, 4, 30)):
        yield (updates, update, n, step), updates * update // (n * step)


@check("a linear head that names the nearest class mean.")
def check_mean_head(head: Callable[[Tensor], Tensor]) -> None:
    """`head(features)` of way x shots x dim -> way x (dim + 1): weights, then the bias (15)."""
    for way, shots, dim in ((2, 1, 3), (5, 4, 6)):
        features = torch.randn(way, shots, dim, generator=stream(15, "head", way))
        queries = torch.randn(50, dim, generator=stream(15, "queries", way))
        found = head(features.clone())
        hint = (
            f"({way} classes, {shots} shots: expand |f - c|^2 = |f|^2 - 2 f c + |c|^2. Which terms "
            "differ between classes?)"
        )
        if not isinstance(found, Tensor) or found.shape != (way, dim + 1):
            expect(found, torch.full((way, dim + 1), torch.nan), hint)
        nearest = torch.cdist(queries, features.mean(1)).argmin(1)
        expect((queries @ found[:, :-1].T + found[:, -1]).argmax(1), nearest, hint)


@table(
    "the support chooses; the queries were not asked.",
    "{} heads, {} images: one mean cross-entropy for each head.",
)
def check_chosen() -> Cases:
    """`chosen(logits, labels, k)`, heads x images x way -> the k of least loss, in order (15)."""
    for heads, n, way, k in ((4, 5, 5, 1), (20, 25, 5, 3)):
        logits = 2 * torch.randn(heads, n, way, generator=stream(15, "chosen", n))
        labels = torch.arange(n) % way
        each = torch.stack([F.cross_entropy(one, labels) for one in logits])
        yield (logits, labels, k), each.argsort()[:k], heads, n


@table("what lies behind shows through as much as a pixel lets it.", "{}")
def check_on_white() -> Cases:
    """`lay(rgba)` -> the three colours on white paper, all numbers in [0, 1] (notebook 16)."""
    pictures = torch.rand(3, 4, 5, 6, generator=stream(16, "pictures")).double()
    pictures[0, 3], pictures[1, 3] = 0, 1  # nothing to be seen, and nothing of the paper
    hints = (
        "Alpha is 0 everywhere: only the paper is seen, and it is 1.",
        "Alpha is 1 everywhere: nothing of the paper is seen.",
        "A pixel of alpha 0.3 shows 0.3 of its colour and 0.7 of the paper.",
    )
    for rgba, hint in zip(pictures, hints, strict=True):
        yield (rgba,), rgba[3:] * rgba[:3] + 1 - rgba[3:], hint


@table(
    "the order of the module's own parameters cuts the row.",
    "The module has {}, one after the other in the row.",
)
def check_row_state() -> Cases:
    """`cut(module, row)` -> name -> tensor, as `functional_call` takes it (notebook 16)."""
    for module in (nn.Linear(3, 2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2))):
        named = dict(module.named_parameters())
        row = torch.arange(float(sum(p.numel() for p in named.values())))
        parts = row.split([p.numel() for p in named.values()])
        right = {n: x.view_as(named[n]) for n, x in zip(named, parts, strict=True)}
        yield (module, row), right, {name: tuple(p.shape) for name, p in named.items()}
