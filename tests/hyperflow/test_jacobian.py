"""The learned Jacobian: exact adjoints, true labels, and knowledge of images it never saw."""

import pytest
import torch
from torch.nn import functional as F

from hyperlab.base import stream
from hyperlab.hyperflow import jacobian
from hyperlab.hyperflow.context import encode, head_residual, pad
from hyperlab.hyperflow.jacobian import JacobianConfig, LearnedJacobian
from hyperlab.models.targets import leave_one_out_loss
from tests.tiny import support, tiny_target

TARGET = tiny_target()
DIM, PARAMS = TARGET.model.num_features, TARGET.subset.n_params


def normal(*shape, name):
    return torch.randn(shape, generator=stream(0, "test_jacobian", name))


@pytest.fixture
def net():
    net = LearnedJacobian(6, 4, 10, width=8).double()
    for name, p in net.named_parameters():
        p.data = normal(*p.shape, name=name).double()
    net.unit.copy_(normal(10, name="unit").abs())
    return net


def test_push_and_pull_are_adjoint(net):
    x, r, delta = (normal(5, n, name=str(n)).double() for n in (6, 4, 10))
    gates = net.gates(x)
    forward = (r * net.push(gates, delta)).sum(1)
    torch.testing.assert_close(forward, (net.pull(gates, r) * delta).sum(1))


def test_the_mean_pull_is_the_weighted_sum_of_the_pulls(net):
    x, r, weights = normal(5, 6, name="x"), normal(5, 4, name="r").double(), torch.rand(5)
    gates = net.gates(x)
    expected = (weights.double()[:, None] * net.pull(gates, r)).sum(0)
    torch.testing.assert_close(net.mean_pull(gates, r, weights.double()), expected)


def test_the_pulled_residuals_average_to_the_gradient():
    task, theta = support(3, 4), TARGET.theta0 + 0.1 * normal(PARAMS, name="theta")
    _, _, pulled = jacobian.pulled_by_autograd(TARGET, theta, task)
    leaf = theta.clone().requires_grad_()
    loss = leave_one_out_loss(TARGET.features(leaf, task.images), task.labels, 3, 10.0)
    (gradient,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(pulled.mean(0), -gradient, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("sizes", [[1, 1], [1, 3, 2], [4, 4, 4, 4, 4]])
def test_the_residual_is_the_gradient_of_the_head_by_autograd(sizes):
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    leaf = normal(len(labels), 7, name="features").double().requires_grad_()
    loss = leave_one_out_loss(leaf, labels, len(sizes), 10.0) * len(labels)
    (gradient,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(head_residual(leaf.detach(), labels), -gradient)


def test_residuals_of_padded_tasks_are_those_of_each_task_alone():
    sizes = enumerate([(2, 1), (4, 3)])
    alone = [encode(TARGET, support(*size, seed=i)) for i, size in sizes]
    batch = pad(alone, n_images=15)
    features = batch.features[..., -2 * DIM : -DIM]
    features = features + (batch.labels < 0)[..., None]  # padding must not matter
    together = head_residual(features, batch.labels)
    for row, context in zip(together, alone, strict=True):
        n = len(context.labels)
        torch.testing.assert_close(row[:n], context.residual, atol=1e-6, rtol=1e-4)
        assert row[n:].abs().max() == 0


def seen(seeds, *, looks=1):
    tasks = (
        (support(4, 6, seed=s), TARGET.theta0 + 0.02 * normal(1, PARAMS, name=str(s)))
        for s in seeds
    )
    config = JacobianConfig(n_tasks=60, looks=looks)
    return jacobian.gather(TARGET, tasks, config, generator=stream(0, "looks"))


def test_the_first_look_is_plain_and_the_others_are_augmented():
    once, thrice = seen(range(2)), seen(range(2), looks=3)
    assert thrice.look.bincount().tolist() == [24] * 6
    plain, view, _ = thrice.inputs[:72].chunk(3)
    assert torch.equal(plain, once.inputs[:24])
    assert not torch.equal(plain, view)


def test_it_learns_the_jacobians_of_images_it_never_saw():
    config = JacobianConfig(steps=200, batch=256, width=64)
    how = {"token_size": DIM, "generator": stream(0, "fit")}
    net = jacobian.fit_jacobian(seen(range(60)), config, **how)
    new = seen(range(100, 110))
    assert (len(new.look), len(new.delta)) == (240, 10)
    with torch.no_grad():
        pulled = net.pull(net.gates(new.inputs), new.residual.float())
        pushed = net.push(net.gates(new.inputs), new.delta[new.look])
    moved = new.feature - new.inputs[:, -2 * DIM : -DIM]
    assert F.cosine_similarity(pulled, new.pulled.float(), dim=1).mean() > 0.4
    assert F.cosine_similarity(pushed, moved.float(), dim=1).mean() > 0.4


def test_the_inert_keys_stay_still():
    config = JacobianConfig(steps=1, batch=8, width=8)
    g = stream(0, "fit")
    net = jacobian.fit_jacobian(seen(range(2)), config, token_size=DIM, generator=g)
    queries, keys, values = net.unit.view(-1, 3, DIM).unbind(1)
    assert keys.abs().max() == 0 < min(queries.min(), values.min())


def test_the_same_stream_gives_the_same_network():
    data, config = seen(range(3)), JacobianConfig(steps=3, batch=16, width=8)
    one, two = (
        jacobian.fit_jacobian(data, config, token_size=DIM, generator=stream(0, "fit"))
        for _ in range(2)
    )
    assert all(
        torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)
    )
