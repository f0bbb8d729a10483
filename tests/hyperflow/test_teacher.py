"""Many tasks side by side: the same steps as each task by itself with torch.optim."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hyperlab import params
from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune, losses
from hyperlab.tasks import augment
from tests.tiny import support, tiny_target

OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
RAGGED = ((3, 2), (2, 5), (4, 1))  # (classes, images of each) of three tasks


def exact(task):
    return replace(task, images=task.images.double())


def exact_target(match=params.qkv_biases):
    """In double precision: in single, Adam makes steps out of the keys' rounding noise."""
    target = tiny_target()
    return replace(target, model=target.model.double()).moving(match)


def views_of(i):
    return stream(0, "views", i)


def loss_by_hand(target, theta, task, view):
    """Each image against the class means of the other images, one number at a time."""
    features, labels, each = target.features(theta, view), task.labels.tolist(), []
    for i, label in enumerate(labels):
        cosines = []
        for k in range(task.n_way):
            others = [j for j, y in enumerate(labels) if y == k and j != i]
            mean = features[others].mean(0)
            near = F.cosine_similarity(features[i], mean, dim=0)
            cosines.append(near if others else features.new_ones(()))  # alone in its class
        logits = target.logit_scale * torch.stack(cosines)
        each.append(logits.logsumexp(0) - logits[label])
    return torch.stack(each).mean()


def plain_loop(target, task, config, generator):
    """One task, one optimiser, one loss written out: (theta, loss) at every knot."""
    theta = target.theta0.clone().requires_grad_()
    optimiser = OPTIMISERS[config.optimiser]([theta], lr=config.lr)
    thetas, curve = [], []
    for _ in range(config.steps + 1):
        views = [augment.view(task.images, generator) for _ in range(config.views)]
        loss = sum(loss_by_hand(target, theta, task, view) for view in views) / len(views)
        thetas.append(theta.detach().clone())
        curve.append(loss.detach())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return torch.stack(thetas), torch.stack(curve)


def together(target, tasks, config, generators, factor=1):
    """Side by side; the images of the first task times a factor."""
    joined = Supports.join(tasks)
    first = torch.where(joined.task == 0, factor, 1)[:, None, None, None]
    joined = replace(joined, images=joined.images * first)
    steps = list(fine_tune(target, joined, config, generators))
    thetas, curves = zip(*steps, strict=True)
    return torch.stack(thetas, 1), torch.stack(curves, 1)


@pytest.mark.parametrize("match", [params.qkv_biases, params.qv_biases, params.norms])
@pytest.mark.parametrize(("optimiser", "lr"), [("adam", 0.03), ("sgd", 0.5)])
def test_tasks_side_by_side_equal_a_loop_with_torch_optim(match, optimiser, lr):
    target = exact_target(match)
    tasks = [exact(support(*sizes, seed=i)) for i, sizes in enumerate(RAGGED)]
    config = TeacherConfig(steps=4, lr=lr, optimiser=optimiser, views=2)
    thetas, curves = together(target, tasks, config, [views_of(i) for i in range(3)])
    assert thetas.shape == (3, 5, target.subset.n_params)
    for i, task in enumerate(tasks):
        path, curve = plain_loop(target, task, config, views_of(i))
        torch.testing.assert_close(thetas[i], path, rtol=0, atol=1e-5)
        torch.testing.assert_close(curves[i], curve, rtol=0, atol=1e-5)


def test_in_single_precision_descent_equals_the_loop_to_five_digits():
    target, tasks = tiny_target(), [support(*sizes) for sizes in RAGGED]
    config = TeacherConfig(steps=4, lr=0.5, optimiser="sgd")
    thetas, _ = together(target, tasks, config, [views_of(i) for i in range(3)])
    for i, task in enumerate(tasks):
        path, _ = plain_loop(target, task, config, views_of(i))
        torch.testing.assert_close(thetas[i], path, rtol=0, atol=1e-5)


def test_a_trajectory_does_not_depend_on_its_neighbours():
    target, tasks = exact_target(), [exact(support(*sizes)) for sizes in RAGGED]
    config = TeacherConfig(steps=3, lr=0.5)
    pair, _ = together(target, tasks[:2], config, [views_of(0), views_of(1)])
    turned, _ = together(target, tasks[::-1], config, [views_of(i) for i in (2, 1, 0)])
    torch.testing.assert_close(pair[1], turned[1], rtol=0, atol=1e-9)


def test_a_task_that_explodes_does_not_harm_its_neighbours():
    target, tasks = tiny_target(), [support(seed=i) for i in range(2)]
    config = TeacherConfig(steps=3, optimiser="sgd", lr=0.5)
    generators = [[views_of(0), views_of(1)] for _ in range(2)]
    good, _ = together(target, tasks, config, generators[0])
    bad, _ = together(target, tasks, config, generators[1], factor=1e30)
    torch.testing.assert_close(bad[1], good[1], rtol=0, atol=1e-5)


def test_every_trajectory_begins_at_the_pretrained_parameters():
    target = tiny_target()
    pair, views = Supports.join([support()] * 2), [views_of(0)] * 2
    theta, loss = next(fine_tune(target, pair, TeacherConfig(), views))
    assert torch.equal(theta, target.theta0.expand(2, -1))
    assert loss.shape == (2,)


def test_fine_tuning_lowers_the_loss():
    target = tiny_target()
    config = TeacherConfig(steps=15, lr=0.03, optimiser="adam")
    _, curves = together(target, [support(4, 4)], config, [views_of(0)])
    assert curves[0, -3:].mean() < curves[0, :3].mean()


def test_losses_average_over_the_views():
    target, joined = exact_target(), Supports.join([exact(support())])
    views = torch.rand(2, *joined.images.shape, generator=stream(0, "v")).double()
    theta = target.theta0[None]
    both = losses(target, theta, joined, views)
    each = [losses(target, theta, joined, view[None]) for view in views]
    torch.testing.assert_close(both, sum(each) / 2)


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"steps": 0}, {"views": 0}, {"lr": -0.1}, {"lr": 0.0}], ids=str
)
def test_steps_views_and_rates_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"steps and views must be >= 1 and lr > 0"):
        TeacherConfig(**wrong)


def test_an_unknown_optimiser_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'adamw'; have \['adam'"):
        TeacherConfig(optimiser="adamw")


def test_unsound_support_sets_are_refused():
    spoilt, empty = support(), replace(support(), n_way=4)
    spoilt.images[1, 0, 3, 3] = float("nan")
    with pytest.raises(ConfigError, match="1 of 6 support images hold NaN"):
        Supports.join([support(), spoilt])
    with pytest.raises(ConfigError, match=r"each of 0 ... 3, got \[2, 2, 2, 0\] images"):
        Supports.join([empty])
