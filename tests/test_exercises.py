"""A check passes the right answer alone, and says what it saw of the others."""

import itertools
import math

import pytest
import torch
from scipy import stats
from scipy.optimize import linear_sum_assignment

from hyperlab import exercises, solvers
from hyperlab.exercises import NotYet, Verdict


def test_a_verdict_begins_with_what_the_reader_wants_to_know():
    assert repr(Verdict(passed=True, message="good")) == "passed: good"
    assert repr(Verdict(passed=False, message="found 3")) == "not yet: found 3"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "no answer"),
        (..., "no answer"),
        (None, r"found None, expected numbers of shape \(2,\). try"),
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


def test_heuns_step_passes_and_eulers_and_the_midpoint_do_not():
    midpoint = lambda f, t, x, dt: x + dt * f(t + dt / 2, x + dt / 2 * f(t, x))
    assert exercises.check_heun_step(solvers.heun_step).passed
    for step in (solvers.euler_step, midpoint, lambda f, t, x, dt: ...):
        assert not exercises.check_heun_step(step).passed


def test_an_error_of_the_readers_own_passes_through():
    with pytest.raises(ZeroDivisionError):
        exercises.check_heun_step(lambda f, t, x, dt: 1 / 0)


def test_the_largest_step_is_two_over_the_curvature():
    assert exercises.check_largest_step(0.08).passed
    for answer in (0.04, 2.0, ..., None):
        assert repr(exercises.check_largest_step(answer)).startswith("not yet")


def test_nearest_mean_wants_distances_to_means_and_not_dot_products():
    nearest = lambda images, means: torch.cdist(images, means).argmin(1)
    assert exercises.check_nearest_mean(nearest).passed
    for wrong in (lambda x, m: (x @ m.T).argmax(1), lambda x, m: torch.cdist(x, m), None):
        assert not exercises.check_nearest_mean(wrong or (lambda x, m: ...)).passed


def test_a_recorded_velocity_divides_by_the_time_of_a_step():
    assert exercises.check_recorded_velocity(lambda p: p.diff(dim=0) * (len(p) - 1)).passed
    for wrong in (
        lambda p: p.diff(dim=0),
        lambda p: p.diff(dim=0) * len(p),
        lambda p: (p[:-1] - p[1:]) * (len(p) - 1),
        lambda p: ...,
    ):
        assert not exercises.check_recorded_velocity(wrong).passed


def test_adams_first_step_is_a_sign_unless_eps_is_larger():
    right = lambda gradient, lr, eps: -lr * gradient / (gradient.abs() + eps)
    assert exercises.check_first_adam_step(right).passed
    for wrong in (
        lambda gradient, lr, eps: -lr * gradient.sign(),
        lambda gradient, lr, eps: -lr * gradient,
        lambda gradient, lr, eps: -right(gradient, lr, eps),
        lambda gradient, lr, eps: -lr * gradient / (gradient.square() + eps).sqrt(),
        lambda *_: ...,
    ):
        assert not exercises.check_first_adam_step(wrong).passed


def test_groups_are_made_again_that_have_no_mark_or_another():
    def to_make(groups, marks, checksum):
        both = enumerate(zip(groups, marks, strict=True))
        return [k for k, (group, mark) in both if not mark or checksum(group) != mark]

    assert exercises.check_to_make(to_make).passed
    for wrong in (
        lambda groups, marks, checksum: [k for k, mark in enumerate(marks) if not mark],
        lambda groups, marks, checksum: [k for k, x in enumerate(groups) if not x],
        lambda groups, marks, checksum: [
            k for k, x in enumerate(groups) if checksum(x) != marks[k]
        ],
        lambda *_: ...,
    ):
        assert not exercises.check_to_make(wrong).passed


def test_the_first_velocity_of_a_natural_spline_knows_all_three_knots():
    def velocity(knots, bends=1.5, h=0.5):
        start, middle, end = knots
        return (middle - start) / h - bends * (start - 2 * middle + end) / h / 6

    assert exercises.check_first_velocity(velocity).passed
    for wrong in (
        lambda knots: velocity(knots, bends=0),
        lambda knots: velocity(knots, bends=1),
        lambda knots: velocity(knots, h=1.0),
        lambda *_: ...,
    ):
        assert not exercises.check_first_velocity(wrong).passed


def test_the_smallest_class_and_ten_bound_the_queries():
    assert exercises.check_query_rule(lambda n: min(10, int(n.min()) // 2)).passed
    for wrong in (lambda n: 10, lambda n: int(n.min()) // 2, lambda n: None):
        assert not exercises.check_query_rule(wrong).passed


def test_episodes_needed_are_the_first_for_which_students_t_is_narrow_enough():
    def needed(std, half):
        narrow = lambda n: stats.t.ppf(0.975, n - 1) * std / n**0.5 <= half
        return next(n for n in itertools.count(3) if narrow(n))

    assert exercises.check_episodes_needed(needed).passed
    for wrong in (
        lambda s, h: math.ceil((1.96 * s / h) ** 2),
        lambda s, h: max(3, math.ceil((1.96 * s / h) ** 2)),
        lambda s, h: needed(s, h) + 1,
        lambda s, h: s / h,
        lambda s, h: ...,
    ):
        assert not exercises.check_episodes_needed(wrong).passed


def test_the_leak_of_a_straight_line_needs_the_time():
    assert exercises.check_leak(lambda theta, theta0, t: (theta - theta0) / t).passed
    for leak in (lambda theta, theta0, t: theta - theta0, lambda theta, theta0, t: ...):
        assert not exercises.check_leak(leak).passed


def test_the_share_that_a_plane_shows_is_a_ratio_of_lengths():
    assert exercises.check_share(lambda axes, v: (axes @ v).norm() / v.norm()).passed
    squared = lambda axes, v: ((axes @ v).norm() / v.norm()) ** 2
    for share in (squared, lambda axes, v: (axes @ v).norm(), lambda axes, v: ...):
        assert not exercises.check_share(share).passed


def test_following_a_drift_wants_the_length_and_every_step():
    def follow(h, theta, steps, length):
        for k in range(steps):
            theta = theta + length * h(torch.tensor(k / steps), theta) / steps
        return theta

    assert exercises.check_follow(follow).passed
    without_length = exercises.check_follow(lambda h, x, n, length: follow(h, x, n, 1.0))
    at_once = exercises.check_follow(lambda h, x, n, length: follow(h, x, 1, length))
    assert not without_length.passed and not at_once.passed


def test_the_fewest_steps_that_never_pass_the_goal_are_three():
    assert exercises.check_fewest_steps(3).passed
    assert "1 - 3 / steps" in exercises.check_fewest_steps(2).message


def test_the_velocity_of_a_piece_is_rise_over_run_from_its_own_knot_on():
    def of_piece(times, thetas, t, below):
        k = int(below(times, t).sum()) - 1
        return (thetas[k + 1] - thetas[k]) / (times[k + 1] - times[k])

    right = lambda times, thetas, t: of_piece(times, thetas, t, torch.le)
    assert exercises.check_piece_velocity(right).passed
    whole = lambda times, thetas, t: thetas[-1] - thetas[0]
    rise = lambda times, thetas, t: thetas[1] - thetas[0]
    for wrong in (whole, rise, lambda times, thetas, t: ...):
        assert not exercises.check_piece_velocity(wrong).passed


def test_a_paired_interval_knows_nothing_of_the_difficulty():
    def paired(a, b, factor=2.0226909):  # Student's t of 39 degrees of freedom
        d = b - a
        return d.mean(), factor * d.std() / len(d) ** 0.5

    def apart(a, b):
        return b.mean() - a.mean(), 2.02 * (a.var() + b.var()).sqrt() / len(a) ** 0.5

    assert exercises.check_paired(paired).passed
    for wrong in (
        apart,
        lambda a, b: paired(a, b, 1.96),
        lambda a, b: paired(b, a),
        lambda a, b: ...,
        lambda a, b: (0.025, ...),
    ):
        assert not exercises.check_paired(wrong).passed


def test_two_of_three_guesses_must_be_among_the_four_that_gain_most():
    gains = {name: float(k) for k, name in enumerate("abcdefgh")}
    assert exercises.check_most_helped((("h", "g", "a"), gains)).passed
    for names in (("a", "b", "h"), ("h", "h", "g"), ("h", "g", "z"), ..., None):
        assert not exercises.check_most_helped((names, gains)).passed


def test_the_share_of_a_look_counts_backward_and_the_images_not_seen():
    assert exercises.check_look_share(
        lambda seen, n, passes: seen / (3 * passes * n)
    ).passed
    for wrong in (lambda s, n, p: s / (p * n), lambda s, n, p: 1 / (3 * p), lambda *_: ...):
        assert not exercises.check_look_share(wrong).passed


def test_breaking_even_divides_by_what_is_saved_and_rounds_up():
    assert exercises.check_break_even(lambda c, f, h: math.ceil(c / (f - h))).passed
    for wrong in (
        lambda c, f, h: c / (f - h),
        lambda c, f, h: math.ceil(c / f),
        lambda *_: ...,
    ):
        assert not exercises.check_break_even(wrong).passed


def test_units_are_swapped_in_both_layers():
    def swap(state):
        for name in ("fc1.weight", "fc1.bias"):
            state[name][[0, 1]] = state[name][[1, 0]]
        state["fc2.weight"][:, [0, 1]] = state["fc2.weight"][:, [1, 0]]
        return state

    def half(state):
        state["fc1.weight"][[0, 1]] = state["fc1.weight"][[1, 0]]
        return state

    assert exercises.check_swap_units(swap).passed
    for wrong in (half, lambda state: state, lambda state: ...):
        assert not exercises.check_swap_units(wrong).passed


def test_a_barrier_is_measured_from_the_straight_line():
    def barrier(losses):
        straight = torch.lerp(losses[0], losses[-1], torch.linspace(0, 1, len(losses)))
        return float((losses - straight).max())

    assert exercises.check_barrier(lambda losses: barrier(losses.float())).passed
    for wrong in (lambda x: x.max(), lambda x: x.max() - x[0], lambda x: ...):
        assert not exercises.check_barrier(wrong).passed


def test_the_divergence_from_a_standard_normal():
    kl = lambda m, v: (m.square() + v.exp() - 1 - v).sum() / 2
    assert exercises.check_kl(kl).passed
    for wrong in (lambda m, v: 2 * kl(m, v), lambda m, v: m.square().sum() / 2, None):
        assert not (exercises.check_kl(wrong or (lambda m, v: ...))).passed


def test_a_channels_columns_move_together():
    columns = lambda w, order: w.unflatten(1, (len(order), -1))[:, order].flatten(1)
    by_pixel = lambda w, order: w.unflatten(1, (-1, len(order)))[:, :, order].flatten(1)
    assert exercises.check_columns(columns).passed
    for wrong in (by_pixel, lambda w, order: w[:, order], lambda w, order: w):
        assert not exercises.check_columns(wrong).passed


def test_a_coupling_is_the_shortest_of_all():
    def couple(x0, x1):
        starts, targets = linear_sum_assignment(torch.cdist(x0, x1).square())
        return x0[torch.tensor(starts)[torch.tensor(targets).argsort()]]

    assert exercises.check_coupling(couple).passed
    a_row_of_each_target = lambda x0, x1: x0[
        torch.tensor(linear_sum_assignment(torch.cdist(x1, x0).square())[1])
    ]  # what the hint says
    assert exercises.check_coupling(a_row_of_each_target).passed
    assert "a row of each target" in str(exercises.check_coupling(lambda x0, x1: x0))
    nearest = lambda x0, x1: x0[torch.cdist(x1, x0).argmin(1)]
    for wrong in (nearest, lambda x0, x1: x0, lambda x0, x1: couple(x1, x0)):
        assert not exercises.check_coupling(wrong).passed


def test_iou_counts_shared_mistakes():
    iou = lambda a, b: (a & b).sum() / (a | b).sum()
    assert exercises.check_iou(iou).passed
    for wrong in (
        lambda a, b: (a == b).float().mean(),
        lambda a, b: (a & b).float().mean(),
    ):
        assert not exercises.check_iou(wrong).passed
