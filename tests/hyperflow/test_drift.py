"""A drift: zero at first, blind to order and padding, still where nothing moves; and its fit."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hyperlab import interpolants
from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import diagnostics
from hyperlab.hyperflow import adapt, drift, jacobian_flow, training
from hyperlab.hyperflow.context import Context, encode, pad
from hyperlab.hyperflow.training import DriftConfig
from hyperlab.hyperflow.trajectories import Trajectories
from hyperlab.models import belonging
from hyperlab.models.targets import leave_one_out_loss
from tests.tiny import recorded, support, tiny_flow, tiny_jacobian, tiny_net, tiny_target

TARGET = tiny_target()
DIM, PARAMS = TARGET.model.num_features, TARGET.subset.n_params
T = torch.tensor([0.4])
WAYS = [(2, 1), (3, 4), (7, 2)]


def shaken(net):
    """The same network with random weights, so that every part matters."""
    for name, p in net.named_parameters():
        if "jacobian" not in name:
            nn.init.normal_(p, std=0.1, generator=stream(0, "test_drift", name))
    return net


def corrected():
    flow = tiny_flow(TARGET, pace=2.0)
    flow.correction = shaken(tiny_net(TARGET))
    return flow


MADE = {
    "drift network": lambda: shaken(tiny_net(TARGET)),
    "Jacobian flow": lambda: tiny_flow(TARGET, pace=2.0),
    "corrected": corrected,
}


@pytest.fixture(scope="module", params=MADE)
def net(request):
    return MADE[request.param]()


def context(n_way=3, n_shot=4, *, seed=0):
    return encode(TARGET, support(n_way, n_shot, seed=seed))


def moved(seed=0):
    theta0 = TARGET.theta0
    return theta0 + 0.1 * torch.randn(theta0.shape, generator=stream(seed, "moved"))


@pytest.mark.parametrize("make", [tiny_net, tiny_flow])
def test_an_untrained_drift_is_no_adaptation(make):
    net, task = make(TARGET), support()
    assert net.given(encode(TARGET, task))(T[0], moved()).abs().max() == 0
    path = adapt.LearnedFlow(net=net, steps=3).path(TARGET, task)
    assert torch.equal(path, TARGET.theta0.expand(4, -1))


@pytest.mark.parametrize(("n_way", "n_shot"), WAYS)
def test_the_order_of_images_and_of_classes_does_not_matter(net, n_way, n_shot):
    plain = context(n_way, n_shot)
    order = torch.randperm(n_way * n_shot, generator=stream(0, "images"))
    classes = torch.randperm(n_way, generator=stream(0, "classes"))
    renamed = Context(plain.features, plain.residual, classes[plain.labels])
    expected = net.given(plain)(T[0], moved())
    assert expected.abs().max() > 1e-3
    for other in (plain[order], renamed):
        torch.testing.assert_close(
            net.given(other)(T[0], moved()), expected, atol=1e-5, rtol=1e-4
        )


def test_tasks_of_any_way_and_shot_share_a_batch_and_padding_does_not_matter(net):
    alone = [context(*sizes, seed=i) for i, sizes in enumerate(WAYS)]
    theta = torch.stack([moved(i) for i in range(len(WAYS))])
    padded = pad(alone, n_images=20)
    together = net(theta, T.expand(len(WAYS)), padded)
    torch.testing.assert_close(net.given(padded)(T[0], theta), together)
    for c, row, expected in zip(alone, theta, together, strict=True):
        torch.testing.assert_close(net.given(c)(T[0], row), expected, atol=1e-5, rtol=1e-4)


def test_the_drift_depends_on_the_task_the_point_the_classes_and_the_time(net):
    c = context()
    swapped = c.labels[torch.tensor([0, 1, 4, 5, 2, 3, *range(6, 12)])]
    drifts = [
        net.given(c)(T[0], moved()),
        net.given(context(seed=1))(T[0], moved()),
        net.given(c)(T[0], moved(1)),
        net.given(Context(c.features, c.residual, swapped))(T[0], moved()),
        net.given(c)(T[0] / 2, moved()),
    ]
    timeless = isinstance(net, jacobian_flow.JacobianFlow) and net.correction is None
    for other in drifts[1 : 4 if timeless else None]:
        assert (other - drifts[0]).norm() > 1e-3 * drifts[0].norm()


def test_without_theta_the_network_is_h_of_t_and_s():
    net = tiny_net(TARGET)
    blind = drift.DriftNetwork(replace(net.shape, sees_theta=False)).eval()
    blind.load_state_dict(shaken(net).state_dict())
    one, two = (blind.given(context())(T[0], moved(seed)) for seed in (0, 1))
    assert torch.equal(one, two) and one.abs().max() > 0


def test_tokens_without_a_scale_never_move_and_are_never_read(net):
    keys = torch.zeros(2, 3, DIM, dtype=torch.bool)
    keys[:, 1] = True  # theta is (layer, query-key-value, number)
    keys, before = keys.flatten(), net.state_dict()
    with torch.no_grad():
        for name in before:
            if name.endswith("scale"):
                net.get_buffer(name)[keys] = 0
    f, theta = net.given(context()), moved()
    assert f(T[0], theta)[keys].abs().max() == 0 < f(T[0], theta)[~keys].abs().min()
    assert torch.equal(f(T[0], theta + 5 * keys), f(T[0], theta))
    for name in before:
        if name.endswith("scale"):
            net.get_buffer(name).fill_(1)


@pytest.mark.parametrize("length", [1, PARAMS - 1, PARAMS + 1])
def test_a_theta_or_context_of_another_target_is_refused(net, length):
    with pytest.raises(
        ConfigError, match=rf"theta has {length} numbers, .* takes {PARAMS}: use the target"
    ):
        net.given(context())(T[0], torch.zeros(length))
    c = context()
    with pytest.raises(ConfigError, match=rf"have 50 numbers, .* takes {6 * DIM}: "):
        net.given(Context(c.features[:, :50], c.residual, c.labels))(T[0], moved())


def test_the_gradient_is_right_where_the_jacobian_is():
    """Push, head and pull are backpropagation through features that are linear in theta."""
    flow, c = tiny_flow(TARGET), context()
    reading, theta = flow.read(pad([c])), moved()[None].requires_grad_()
    gates = tuple(g[0] for g in reading.gates)
    features = reading.features[0] + flow.jacobian.push(gates, theta[0] - flow.theta0)
    loss = leave_one_out_loss(features, c.labels, 3, 10.0)
    (gradient,) = torch.autograd.grad(loss, theta)
    found = flow.gradient(theta.detach(), reading)
    torch.testing.assert_close(found, -gradient, atol=1e-6, rtol=1e-3)


def test_a_jacobian_flow_is_pace_times_gradient_and_each_part_can_be_switched_off():
    flow, c = corrected(), context()
    plain, blind = flow.without("correction"), flow.without("feedback")
    reading = flow.read(pad([c]))
    gradient = flow.gradient(moved()[None], reading)[0]
    torch.testing.assert_close(plain.given(c)(T[0], moved()), 2 * gradient)
    extra = flow.given(c)(T[0], moved()) - plain.given(c)(T[0], moved())
    torch.testing.assert_close(extra, flow.correction.given(c)(T[0], moved()))
    at_start = blind.given(c)(T[0], moved()) - extra
    torch.testing.assert_close(at_start, 2 * reading.start[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="'pace'; have"):
        flow.without("pace")


@pytest.mark.parametrize("make", [tiny_flow, corrected])
def test_a_jacobian_flow_comes_back_from_its_file(make, tmp_path):
    flow = make(TARGET) if make is tiny_flow else make()
    jacobian_flow.save(flow, path := tmp_path / "flow.safetensors", {})
    back = jacobian_flow.load(path)
    assert (float(back.pace), back.target) == (float(flow.pace), flow.target)
    one, two = (x.given(context())(T[0], moved()) for x in (flow, back))
    torch.testing.assert_close(one, two, atol=1e-2, rtol=1e-2)


def test_a_pace_is_found_again_and_belongs_to_the_target_of_the_jacobian():
    flow, data = tiny_flow(TARGET), recorded(TARGET)
    gradient = flow.gradient(data.thetas[:, 0], flow.read(data.contexts))
    steps = torch.tensor([0.0, 3.0, 4.0])[:, None]  # half a unit of time each
    data = replace(data, thetas=data.thetas[:, :1] + steps * gradient[:, None])
    jacobian = tiny_jacobian(TARGET)
    jacobian.target = data.target
    found = jacobian_flow.fit_pace(data, jacobian)
    assert float(found.pace) == pytest.approx(6.0, rel=1e-4) and found.target == data.target
    jacobian.target = "another"
    with pytest.raises(ConfigError, match="do not belong together"):
        jacobian_flow.fit_pace(data, jacobian)


def known_problem(n=40):
    """Paths theta0 + s(t) w a_i, a_i = +1 or -1, which one is seen in the support's colours."""
    signs = torch.tensor([1.0, -1.0]).repeat(n // 2)
    contexts = [context(2, 2, seed=i) for i in range(n)]
    offset = torch.randn(contexts[0].features.shape[1], generator=stream(0, "offset"))
    contexts = [
        Context(c.features + a * offset, c.residual, c.labels)
        for a, c in zip(signs, contexts, strict=True)
    ]
    w = 0.1 + torch.rand(TARGET.subset.n_params, generator=stream(0, "w"))
    s = torch.linspace(0, 1, 6)[:, None].square()  # fast at the end: linear, cubic differ
    thetas = TARGET.theta0 + s * w * signs[:, None, None]
    flags = torch.zeros(n, dtype=torch.bool)
    losses, domain = torch.zeros(n, 6), torch.zeros(n).long()
    told = belonging.described(TARGET)
    return Trajectories(
        thetas, losses, pad(contexts), domain, ("a",), flags, flags, DIM, told
    )


QUICK = DriftConfig(steps=200, batch=16, width=32, lr=3e-3)


@pytest.fixture(scope="module")
def fitted():
    data = known_problem()
    seen, held_out = data.of(torch.arange(30)), data.of(torch.arange(30, 40))
    net, _ = training.fit_drift(seen, QUICK, generator=stream(0, "fit"))
    return held_out, net


def test_training_finds_a_known_drift_on_tasks_it_never_saw(fitted):
    held_out, net = fitted
    untrained = training.build(held_out, QUICK)
    assert diagnostics.on_path(untrained, held_out, 0.5).error == pytest.approx(1, abs=1e-5)
    for t in (0.25, 0.5, 1.0):
        fit = diagnostics.on_path(net, held_out, t)
        assert fit.error < 0.5 and fit.cosine > 0.9
    assert diagnostics.end_points(net, held_out).error < 0.5


def test_a_correction_learns_what_the_other_drift_leaves_over():
    data, flow = known_problem(), tiny_flow(TARGET)
    flow.target = data.target
    plain, _ = training.fit_drift(data, QUICK, generator=stream(0, "fit"))
    same, _ = training.fit_drift(data, QUICK, correcting=flow, generator=stream(0, "fit"))
    assert all(map(torch.equal, plain.parameters(), same.parameters()))  # of no drift
    options = {"correcting": plain, "generator": stream(0, "fit")}
    rest, _ = training.fit_drift(data, QUICK, **options)
    theta, t, v, _ = training.examples(data, QUICK, stream(0, "draw"), None)
    left = v - plain(theta, t, data.contexts)
    found = rest(theta, t, data.contexts)
    assert (left - found).norm() < 1.1 * left.norm() < 0.6 * v.norm()


def test_the_same_seed_gives_the_same_bits_and_the_global_stream_is_left_alone():
    data, before = known_problem(8), torch.get_rng_state()
    config = DriftConfig(steps=3, batch=4, width=32)
    runs = [
        training.fit_drift(data, config, generator=stream(s, "fit"))[0] for s in (0, 0, 1)
    ]
    a, b, c = (torch.cat([p.flatten() for p in net.parameters()]) for net in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_is_validated_ten_times_and_the_best_network_comes_back():
    data, config = known_problem(16), replace(QUICK, steps=40, batch=4, lr=0.03)
    held_out, options = known_problem(8), {"generator": stream(0, "fit")}
    net, history = training.fit_drift(data, config, validation=held_out, **options)
    assert list(history.validation) == list(range(4, 41, 4)) and history.loss.shape == (40,)
    best = min(history.validation.values())
    assert training.validation_loss(net, held_out, config) == pytest.approx(best, rel=1e-6)
    assert best < 1  # no adaptation has 1, in units of the training tasks


@pytest.mark.parametrize("kind", interpolants.KINDS)
def test_what_is_drawn_are_the_paths_own_points_and_velocities(kind):
    data = known_problem(12)
    config = DriftConfig(path=kind, at_start=0.5)
    theta, t, v, _ = training.examples(data, config, stream(0, "draw"), None)
    path = interpolants.KINDS[kind](data.times, data.thetas)
    rows = torch.arange(len(t))
    torch.testing.assert_close(theta, path.evaluate(t)[rows, rows])
    torch.testing.assert_close(v, path.derivative(t)[rows, rows])
    assert 0 < (t == 0).sum() < len(t)


def test_the_loss_is_in_units_of_each_parameter_and_leaves_still_ones_out():
    data = known_problem(4)
    net = training.build(data, QUICK)
    net.scale[DIM : 2 * DIM] = 0
    v = net.speed * net.scale.where(net.scale > 0, 100.0).expand(4, -1) * 3
    loss = training.drift_loss(net, data.thetas[:, 0], torch.zeros(4), v, data.contexts)
    assert loss.item() == pytest.approx(9, rel=1e-5)


def test_a_network_without_adaptation_has_a_loss_of_one():
    data = known_problem(40)
    config = replace(QUICK, at_start=0.0)
    loss = training.validation_loss(training.build(data, config), data, config)
    assert loss == pytest.approx(1, rel=0.3)


def test_unknown_paths_and_scales_are_refused():
    with pytest.raises(
        ConfigError, match="'quintic'; have .*'cubic', 'linear', 'piecewise'"
    ):
        DriftConfig(path="quintic")
    with pytest.raises(ConfigError, match="'huge'; have"):
        DriftConfig.at("huge")
