"""The checks of notebook 14 pass the right answer alone."""

import torch

from hyperlab import exercises


def walk(velocity, x, steps, knot):
    for k in range(steps):
        x = x.detach() if k == knot else x
        x = x + velocity(k / steps, x) / steps
    return x.detach() if knot == steps else x


def without_graph(velocity, x, steps, knot):
    with torch.no_grad():
        for k in range(knot):
            x = x + velocity(k / steps, x) / steps
    for k in range(knot, steps):
        x = x + velocity(k / steps, x) / steps
    return x


def test_both_forms_of_a_stopped_gradient_pass():
    for right in (walk, without_graph):
        assert exercises.check_stopped_walk(right).passed


def test_whole_gradients_stops_at_the_end_and_other_walks_do_not():
    whole = lambda f, x, steps, knot: walk(f, x, steps, -1)
    none = lambda f, x, steps, knot: walk(f, x, steps, steps)
    late = lambda f, x, steps, knot: walk(f, x, steps, min(knot + 1, steps))
    short = lambda f, x, steps, knot: walk(f, x, steps + 1, knot)
    for wrong in (whole, none, late, short, lambda *_: ..., lambda *_: 3.0):
        assert not exercises.check_stopped_walk(wrong).passed
    assert "detach" in exercises.check_stopped_walk(whole).message


def test_equal_steps_are_shared_and_rounded_down():
    right = lambda updates, update, n, step: updates * update // (n * step)
    assert exercises.check_equal_steps(right).passed
    for wrong in (
        lambda updates, update, n, step: updates * update // step,
        lambda updates, update, n, step: updates * update / (n * step),
        lambda updates, update, n, step: updates,
        lambda *_: ...,
    ):
        assert not exercises.check_equal_steps(wrong).passed
