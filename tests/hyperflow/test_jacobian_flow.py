"""The drift network: zero at first, blind to order and padding, still where nothing moves."""

from dataclasses import asdict

import pytest
import torch
from torch import nn

from hyperlab import checkpoint, interpolants
from hyperlab.base import ArtifactError, ConfigError, DataMissingError, stream
from hyperlab.hyperflow import adapt, diagnostics, jacobian, jacobian_flow, training
from hyperlab.hyperflow.context import Context, encode, pad
from hyperlab.hyperflow.training import DriftConfig
from hyperlab.hyperflow.trajectories import Trajectories
from hyperlab.models.targets import leave_one_out_loss
from tests.tiny import support, tiny_jacobian, tiny_net, tiny_target

TARGET = tiny_target()
JACOBIAN = tiny_jacobian(TARGET)
DIM, PARAMS = TARGET.model.num_features, TARGET.subset.n_params
T = torch.tensor([0.4])
WAYS = [(2, 1), (3, 4), (7, 2)]


@pytest.fixture(scope="module")
def net():
    """A network in which every part matters: attention, gates, counts, all tokens."""
    net = tiny_net(TARGET, seed=0)
    for name, p in net.named_parameters():
        nn.init.normal_(p, std=0.1, generator=stream(0, "test_drift", name))
    return net


def context(n_way=3, n_shot=4, *, seed=0):
    return encode(TARGET, support(n_way, n_shot, seed=seed))


def moved(seed=0):
    theta0 = TARGET.theta0
    return theta0 + 0.1 * torch.randn(theta0.shape, generator=stream(seed, "moved"))


def test_an_untrained_network_is_no_adaptation():
    net, task = tiny_net(TARGET), support()
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
        torch.testing.assert_close(net.given(other)(T[0], moved()), expected)


def test_tasks_of_any_way_and_shot_share_a_batch_and_padding_does_not_matter(net):
    alone = [context(*sizes, seed=i) for i, sizes in enumerate(WAYS)]
    theta = torch.stack([moved(i) for i in range(len(WAYS))])
    padded = pad(alone, n_images=20)
    together = net(theta, T.expand(len(WAYS)), padded)
    torch.testing.assert_close(net.given(padded)(T[0], theta), together)
    for c, row, expected in zip(alone, theta, together, strict=True):
        torch.testing.assert_close(net.given(c)(T[0], row), expected, atol=1e-5, rtol=1e-4)


def test_the_guess_is_the_gradient_where_the_jacobian_is_right():
    """Push, head and pull are backpropagation through features that are linear in theta."""
    net, c = tiny_net(TARGET), context()
    reading, theta = net.read(pad([c])), moved()[None].requires_grad_()
    gates = tuple(g[0] for g in reading.gates)
    features = reading.features[0] + net.jacobian.push(gates, theta[0] - net.theta0)
    loss = leave_one_out_loss(features, c.labels, 3, 10.0)
    (gradient,) = torch.autograd.grad(loss, theta)
    found = net.guess(theta.detach(), reading)
    torch.testing.assert_close(found, -gradient, atol=1e-6, rtol=1e-3)


def test_the_guess_alone_is_the_pace_times_the_guess_and_leaves_the_network_as_it_was(net):
    alone, c, before = jacobian_flow.guess_alone(net), context(), net.out.clone()
    theta = moved()
    guess = net.guess(theta[None], net.read(pad([c])))[0]
    torch.testing.assert_close(alone.given(c)(T[0], theta), net.pace * guess)
    assert torch.equal(net.out, before) and before.abs().max() > 0
    assert not torch.allclose(net.given(c)(T[0], theta), alone.given(c)(T[0], theta))


def test_the_drift_depends_on_the_task_the_point_and_the_time(net):
    drifts = [
        net.given(context())(T[0], moved()),
        net.given(context(seed=1))(T[0], moved()),
        net.given(context())(T[0], moved(1)),
        net.given(context())(T[0] / 2, moved()),
    ]
    for other in drifts[1:]:
        assert (other - drifts[0]).norm() > 1e-3 * drifts[0].norm()


def test_tokens_without_a_scale_never_move_and_are_never_read(net):
    keys = torch.zeros(2, 3, DIM, dtype=torch.bool)
    keys[:, 1] = True  # theta is (layer, query-key-value, number)
    keys, still = keys.flatten(), tiny_net(TARGET)
    still.load_state_dict(net.state_dict())
    still.scale[keys] = 0
    f, theta = still.given(context()), moved()
    assert f(T[0], theta)[keys].abs().max() == 0 < f(T[0], theta)[~keys].abs().min()
    assert torch.equal(f(T[0], theta + 5 * keys), f(T[0], theta))


@pytest.mark.parametrize("length", [1, PARAMS - 1, PARAMS + 1])
def test_a_theta_or_context_of_another_target_is_refused(net, length):
    with pytest.raises(
        ConfigError, match=rf"theta has {length} numbers, .* takes {PARAMS}: use the target"
    ):
        net.given(context())(T[0], torch.zeros(length))
    c = context()
    with pytest.raises(
        ConfigError, match=rf"have \(50, {DIM}\) .* takes \({6 * DIM}, {DIM}\)"
    ):
        net.given(Context(c.features[:, :50], c.residual, c.labels))(T[0], moved())


SHARED = "jacobian.safetensors"


@pytest.fixture
def pair(net, tmp_path):
    """A drift network's file and, beside it, that of its learned Jacobian."""
    path = tmp_path / "drift.safetensors"
    jacobian.share(net.jacobian, tmp_path / SHARED, {})
    jacobian_flow.save(net, path, {"path": "cubic"}, shared=SHARED)
    return path, tmp_path / SHARED


def test_a_jacobian_in_a_file_of_its_own_makes_the_same_network(net, pair, tmp_path):
    alone = tmp_path / "alone.safetensors"
    jacobian_flow.save(net, alone, {"path": "cubic"})
    state = jacobian_flow.load(pair[0]).state_dict()
    learned = jacobian.load(pair[1]).state_dict()
    for name, p in jacobian_flow.load(alone).state_dict().items():
        assert torch.equal(p, state[name])
    for name, p in learned.items():
        assert torch.equal(p, state[f"jacobian.{name}"])
    room = sum(2 * p.numel() if p.ndim > 1 else 4 * p.numel() for p in learned.values())
    assert pair[0].stat().st_size < alone.stat().st_size - 0.9 * room


def test_the_files_of_two_networks_share_a_jacobian_but_not_with_a_third(net, pair):
    _, shared = pair
    before = shared.read_bytes()
    jacobian.share(jacobian_flow.load(pair[0]).jacobian, shared, {"seed": "1"})
    with pytest.raises(
        ArtifactError, match="another learned Jacobian, which the drift netw"
    ):
        jacobian.share(JACOBIAN, shared, {})
    other = tiny_net(TARGET)
    with pytest.raises(ArtifactError, match=r"than third\.safetensors was trained with"):
        jacobian_flow.save(other, shared.with_name("third.safetensors"), {}, shared=SHARED)
    assert shared.read_bytes() == before and {*shared.parent.iterdir()} == {*pair}


def test_a_network_without_the_file_of_its_jacobian_says_which_is_missing(net, pair):
    path, shared = pair
    shared.unlink()
    with pytest.raises(
        DataMissingError, match=rf"{SHARED}, which is not there.*train_drift"
    ):
        jacobian_flow.load(path)
    with pytest.raises(DataMissingError, match=rf"{SHARED}, which is not there"):
        jacobian_flow.save(net, path, {}, shared=SHARED)


def test_the_file_of_another_or_half_a_jacobian_is_refused(pair):
    path, shared = pair
    jacobian.save(JACOBIAN, shared, {})
    for says in ("another learned Jacobian than", "no whole learned"):
        with pytest.raises(ArtifactError, match=f"no whole Jacobian flow.*{says}"):
            jacobian_flow.load(path)
        shared.write_bytes(shared.read_bytes()[:-10])


def test_a_name_outside_the_folder_is_refused(net, tmp_path):
    path, elsewhere = tmp_path / "a.safetensors", {"file": "../elsewhere", "digest": "0"}
    spec = {"shape": asdict(net.shape), "target": "", "jacobian": elsewhere}
    checkpoint.save(path, jacobian_flow.KIND, net, spec)
    with pytest.raises(ArtifactError, match="no whole Jacobian flow"):
        jacobian_flow.load(path)


def test_the_shipped_networks_have_one_jacobian():
    linear, cubic = (jacobian_flow.load(name) for name in jacobian_flow.SHIPPED)
    learned = jacobian.load(jacobian_flow.PRETRAINED / SHARED).state_dict()
    for name, p in learned.items():
        assert torch.equal(linear.jacobian.state_dict()[name], p)
        assert torch.equal(cubic.jacobian.state_dict()[name], p)


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
    return Trajectories(
        thetas, torch.zeros(n, 6), pad(contexts), torch.zeros(n).long(), ("a",), flags, DIM
    )


QUICK = DriftConfig(steps=200, batch=16, width=32, lr=3e-3, dropout=0.0)


@pytest.fixture(scope="module")
def fitted():
    data = known_problem()
    seen, held_out = data.of(torch.arange(30)), data.of(torch.arange(30, 40))
    net, _ = training.fit_drift(seen, QUICK, JACOBIAN, generator=stream(0, "fit"))
    return held_out, net


def test_training_finds_a_known_drift_on_tasks_it_never_saw(fitted):
    held_out, net = fitted
    untrained = training.build(held_out, QUICK, JACOBIAN)
    assert diagnostics.on_path(untrained, held_out, 0.5).error == pytest.approx(1, abs=1e-5)
    for t in (0.25, 0.5, 1.0):
        fit = diagnostics.on_path(net, held_out, t)
        assert fit.error < 0.5 and fit.cosine > 0.9
    assert diagnostics.end_points(net, held_out).error < 0.5


def test_the_same_seed_gives_the_same_bits_and_the_global_stream_is_left_alone():
    data, before = known_problem(8), torch.get_rng_state()
    config = DriftConfig(steps=3, batch=4, width=32)
    runs = [
        training.fit_drift(data, config, JACOBIAN, generator=stream(s, "fit"))[0]
        for s in (0, 0, 1)
    ]
    a, b, c = (torch.cat([p.flatten() for p in net.parameters()]) for net in runs)
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_is_validated_ten_times_and_tells_its_losses():
    data, config = known_problem(8), DriftConfig(steps=20, batch=4, width=32)
    error = lambda net: float(net.training) + diagnostics.on_path(net, data, 0.5).error
    net, history = training.fit_drift(
        data, config, JACOBIAN, generator=stream(0, "fit"), validate=error
    )
    assert list(history.validation) == list(range(2, 21, 2))
    assert history.validation[20] == error(net) and history.loss.shape == (20,)


@pytest.mark.parametrize("kind", interpolants.KINDS)
def test_what_is_drawn_are_the_paths_own_points_and_velocities(kind):
    data = known_problem(12)
    config = DriftConfig(path=kind, at_start=0.5)
    t, theta, v = training.draw(data.thetas, data.times, config, stream(0, "draw"))
    path = interpolants.KINDS[kind](data.times, data.thetas)
    rows = torch.arange(len(t))
    torch.testing.assert_close(theta, path.evaluate(t)[rows, rows])
    torch.testing.assert_close(v, path.derivative(t)[rows, rows])
    assert 0 < (t == 0).sum() < len(t)


def test_the_loss_is_in_units_of_each_parameter_and_leaves_still_ones_out():
    data = known_problem(4)
    net = training.build(data, QUICK, JACOBIAN)
    net.scale[DIM : 2 * DIM] = 0
    v = net.scale.where(net.scale > 0, 100.0).expand(4, -1) * 3
    loss = training.drift_loss(net, data.thetas[:, 0], torch.zeros(4), v, data.contexts)
    assert float(loss) == pytest.approx(9, rel=1e-5)


def test_unknown_paths_and_scales_are_refused():
    with pytest.raises(
        ConfigError, match="'quintic'; have .*'cubic', 'linear', 'piecewise'"
    ):
        DriftConfig(path="quintic")
    with pytest.raises(ConfigError, match="'huge'; have"):
        DriftConfig.at("huge")
