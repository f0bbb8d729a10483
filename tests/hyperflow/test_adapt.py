"""Every method of adaptation is (target, support) -> theta and leaves the backbone alone."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from hyperlab import params, solvers
from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow import adapt, controls
from hyperlab.hyperflow.context import encode
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import Episode
from tests.tiny import recorded, support, tiny_flow, tiny_net, tiny_target

QUICK = TeacherConfig(steps=2)
TARGET = tiny_target()
SIZE = TARGET.model.num_features


def tuning(name, match, **options):
    return adapt.FineTuning(name=name, match=match, config=QUICK, **options)


FLOW = adapt.LearnedFlow(net=tiny_net(TARGET, seed=0), steps=2)
METHODS = [
    adapt.NoAdaptation(),
    adapt.bias_tuning(steps=2),
    tuning("head", params.head),
    tuning("norms", params.norms),
    tuning("queries and values", params.qv_biases),
    tuning("all biases", params.all_biases),
    tuning("LoRA", params.lora, rank=2),
    tuning("everything", params.everything),
    controls.Displacement(delta=torch.ones(TARGET.subset.n_params)),
    FLOW,
    controls.NearestDomain.fit(recorded(TARGET)),
    controls.OwnDomain(deltas={"a": torch.ones(TARGET.subset.n_params)}, domain="a"),
    controls.RandomDirection(
        method=adapt.bias_tuning(steps=1), token_size=TARGET.model.num_features
    ),
    controls.WrongSupport(method=adapt.bias_tuning(steps=1), support=support(seed=9)),
    adapt.FewerImages(method=adapt.bias_tuning(steps=1), name="half", share=0.5),
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@every_method
def test_a_method_gives_the_parameters_of_its_own_view_and_the_same_bits_again(method):
    task, view = support(), method.view(TARGET)
    theta = method(view, task)
    assert theta.shape == view.theta0.shape and theta.isfinite().all()
    accuracy = view.accuracy(theta, Episode(task, task, "made up", tuple("abc")))
    assert 0 <= accuracy <= 1
    assert torch.equal(method(view, support()), theta)
    assert torch.equal(theta, view.theta0) == (method.name == "no adaptation")


@every_method
def test_the_frozen_backbone_stays_bit_identical(method):
    before = {name: p.clone() for name, p in TARGET.model.state_dict().items()}
    theta0 = TARGET.theta0.clone()
    method(method.view(TARGET), support())
    after = TARGET.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(theta0, TARGET.theta0)


def test_threads_that_share_a_backbone_neither_disturb_each_other_nor_change_it():
    before = {name: p.clone() for name, p in TARGET.model.state_dict().items()}
    methods, task = [adapt.bias_tuning(steps=4), FLOW], support()
    alone = [method(TARGET, task) for method in methods]
    with ThreadPoolExecutor(4) as pool:
        together = [[pool.submit(m, TARGET, task) for m in methods] for _ in range(8)]
    for futures in together:
        for future, theta in zip(futures, alone, strict=True):
            torch.testing.assert_close(future.result(), theta)
    assert all(torch.equal(p, before[n]) for n, p in TARGET.model.state_dict().items())


def test_no_adaptation_and_an_untrained_network_stay_at_theta0():
    untrained = adapt.LearnedFlow(net=tiny_net(TARGET), steps=3, method="rk4")
    for method in (adapt.NoAdaptation(), untrained):
        assert torch.equal(method(TARGET, support()), TARGET.theta0)


def test_gradient_methods_move_and_lower_the_loss_on_plain_support():
    task = support(n_shot=4)

    def loss(theta):
        return torch.nn.functional.cross_entropy(
            TARGET.logits(theta, task, task.images), task.labels
        )

    theta = adapt.bias_tuning(steps=10, lr=0.05, optimiser="adam")(TARGET, task)
    assert loss(theta) < loss(TARGET.theta0)


def test_hyperflow_is_the_solver_on_the_bound_network():
    task, net = support(), tiny_net(TARGET, seed=1)
    method = adapt.LearnedFlow(net=net, steps=4, method="heun")
    path = method.path(TARGET, task)
    drift = net.given(encode(TARGET, task))
    by_hand = solvers.solve(drift, TARGET.theta0, steps=4, method="heun")
    assert path.shape == (5, TARGET.subset.n_params) and torch.equal(path[0], TARGET.theta0)
    assert torch.equal(path[-1], method(TARGET, task))
    torch.testing.assert_close(path, by_hand)


@pytest.mark.parametrize("length", [0.5, 2.0])
def test_the_length_factor_multiplies_the_first_euler_step(length):
    task, net = support(), tiny_net(TARGET, seed=1)
    euler = {"net": net, "steps": 1, "method": "euler"}
    one = adapt.LearnedFlow(**euler)(TARGET, task) - TARGET.theta0
    scaled = adapt.LearnedFlow(**euler, length=length)(TARGET, task) - TARGET.theta0
    torch.testing.assert_close(scaled, length * one, rtol=1e-4, atol=1e-6)


def test_hyperflow_needs_no_gradient():
    with torch.no_grad():
        theta = adapt.LearnedFlow(net=tiny_net(TARGET, seed=1), steps=1)(TARGET, support())
    assert not theta.requires_grad


def test_wrong_support_ignores_the_task_it_is_given():
    method = METHODS[-2]
    inner = adapt.bias_tuning(steps=1)(TARGET, support(seed=9))
    assert torch.equal(method(TARGET, support(seed=0)), inner)
    assert torch.equal(method(TARGET, support(seed=1)), inner)
    assert not torch.equal(adapt.bias_tuning(steps=1)(TARGET, support(seed=0)), inner)


def test_a_random_direction_is_as_long_as_the_method_token_by_token():
    inner, size = adapt.bias_tuning(steps=1), TARGET.model.num_features
    method = controls.RandomDirection(method=inner, token_size=size)
    found, true = (m(TARGET, support()) - TARGET.theta0 for m in (method, inner))
    lengths = [x.unflatten(0, (-1, size)).norm(dim=1) for x in (found, true)]
    torch.testing.assert_close(*lengths, rtol=1e-4, atol=1e-7)
    assert torch.cosine_similarity(found, true, dim=0).abs() < 0.5
    assert not torch.equal(method(TARGET, support(seed=1)), method(TARGET, support()))


def test_displacement_adds_the_same_to_every_task():
    delta = torch.randn(TARGET.subset.n_params, generator=stream(0, "delta"))
    method = controls.Displacement(delta=delta, name="mean")
    for seed in (0, 1):
        found = method(TARGET, support(seed=seed)) - TARGET.theta0
        torch.testing.assert_close(found, delta, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("domains", "moves"), [([0, 1, 2], (1.0, 2.0, 3.0)), ([0, 0, 1], (1.5, 1.5, 3.0))]
)
def test_nearest_domain_looks_up_the_mean_of_a_domain(domains, moves):
    data = replace(recorded(TARGET), domain=torch.tensor(domains))
    method = controls.NearestDomain.fit(data)
    for i, move in enumerate(moves):
        moved = method(TARGET, support(seed=i)) - TARGET.theta0
        torch.testing.assert_close(moved, torch.full_like(moved, move))


class LinearTarget(Target):
    """A target whose features answer to theta by one matrix, the same for every image."""

    def features(self, theta, images, task=None):
        start, delta = super().features(self.theta0, images), theta - self.theta0
        return start + self.answer(delta)

    @staticmethod
    def answer(delta):
        matrix = torch.randn(32, len(delta), generator=stream(0, "matrix")) / len(delta)
        return matrix @ delta


def test_pushed_class_means_are_the_recomputed_ones_where_features_are_linear(monkeypatch):
    target, net = LinearTarget(**vars(TARGET)), tiny_flow(TARGET, pace=1.0)
    push = lambda _, delta: target.answer(delta.flatten())
    monkeypatch.setattr(net.jacobian, "push", push)
    options = {"net": net, "steps": 1, "method": "euler"}
    pushed = adapt.LearnedFlow(**options, push=True).classifier(target, support())
    again = adapt.LearnedFlow(**options).classifier(target, support())
    assert not torch.equal(again.theta, target.theta0)
    assert torch.equal(pushed.theta, again.theta)
    torch.testing.assert_close(pushed.centres, again.centres, rtol=1e-4, atol=1e-5)


def test_a_context_in_chunks_is_the_whole_context():
    task = support(n_shot=3)
    whole, parts = encode(TARGET, task), encode(TARGET, task, chunk=2)
    for name in ("features", "residual", "labels"):
        torch.testing.assert_close(
            getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-5
        )


def test_fewer_images_are_what_the_inner_method_sees():
    task = support(n_shot=4)
    seen = task.at_most(6)
    own = adapt.FewerImages(method=FLOW, name="half", share=0.5)
    both = adapt.FewerImages(method=FLOW, name="half", max_images=6, means_of_all=True)
    theta = FLOW(TARGET, seen)
    for method, means_of in ((own, seen), (both, task)):
        found = adapt.classifier(method, TARGET, task)
        assert torch.equal(found.theta, theta)
        torch.testing.assert_close(found.centres, TARGET.centres(theta, means_of))


def test_no_class_goes_without_an_image_and_shares_lie_between_0_and_1():
    method = adapt.FewerImages(method=adapt.NoAdaptation(), name="", share=0.01)
    assert method.shown(support(n_way=3, n_shot=4)).labels.tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="share"):
        adapt.FewerImages(method=adapt.NoAdaptation(), name="", share=1.5)


OTHER = tiny_target(params.norms)
FOREIGN = {
    "network": adapt.LearnedFlow(net=tiny_net(TARGET)),
    "displacement": controls.Displacement(delta=torch.ones(3)),
    "table of domains": controls.NearestDomain.fit(recorded(TARGET)),
}


@pytest.mark.parametrize("method", FOREIGN.values(), ids=FOREIGN)
def test_what_was_made_for_another_target_is_refused_with_both_lengths(method):
    with pytest.raises(ConfigError, match=rf"\d+ numbers.* {OTHER.subset.n_params}"):
        method(OTHER, support())


def test_a_theta_of_another_target_is_refused():
    task = support()
    theta = adapt.bias_tuning(steps=1)(TARGET, task)
    says = f"theta has {len(theta)} numbers; this subset has"
    with pytest.raises(ConfigError, match=says):
        OTHER.accuracy(theta, Episode(task, task, "made up", tuple("abc")))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": -1}, {"method": "eular"}])
def test_solver_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        adapt.LearnedFlow(net=tiny_net(TARGET), **wrong)(TARGET, support())
