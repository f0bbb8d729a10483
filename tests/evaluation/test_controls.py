"""Every control differs from its method, and every method refuses a support set that is unsound."""

from dataclasses import replace

import compare_generators
import compare_heads
import compare_starts
import pytest
import retrieve_networks
import torch
from compare_starts import StartsConfig

from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import experiments, heads, methods, through
from hyperlab.evaluation.experiments import EvalConfig
from hyperlab.evaluation.methods import TEACHER
from hyperlab.hyperflow import adapt, controls
from hyperlab.tasks import roles
from hyperlab.tasks.episodes import Episode
from hyperlab.weights import baselines, retriever
from hyperlab.weights.context import DatasetId, MeanFeatures
from hyperlab.weights.retriever import RetrievalConfig
from hyperlab.weights.zoo_store import shipped
from tests.hyperflow.test_adapt import recorded
from tests.tiny import noise_domain, small_world, support, tiny_flow, tiny_net, tiny_target

TARGET = tiny_target()
TASK, OTHER = support(), support(seed=9)
NAMED = methods.Learned(
    nets={"Jacobian flow": tiny_flow(TARGET, pace=1.0)},
    data=recorded(TARGET),
    own={"a": torch.full_like(TARGET.theta0, 0.1)},
)
BOUND = {
    "own domain's mean": lambda m: replace(m, domain="a"),
    "wrong support": lambda m: replace(m, support=OTHER),
}
HALF = {"method": adapt.NoAdaptation(), "name": "half of the images", "share": 0.5}
METHODS = [BOUND.get(m.name, lambda m: m)(m) for m in methods.named([], NAMED)]
METHODS.append(adapt.FewerImages(**HALF))
SHORT = EvalConfig(protocol="5-way 1-shot", n_tasks=2)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


def of(name):
    return next(m for m in METHODS if m.name == name)


def spoiled(value):
    images = TASK.images.clone()
    images[1, 0, 3, 3] = value
    return {"images": images}


UNSOUND = {
    "a class lacks an image": ({"n_way": 4}, r"\[2, 2, 2, 0\].*lacking: \[3\]"),
    "a foreign label": ({"n_way": 2}, r"foreign: \[2\]"),
    "one class": ({"labels": TASK.labels * 0, "n_way": 1}, "two classes"),
    "labels are no integers": ({"labels": TASK.labels.float()}, "want an integer"),
    "a label too few": ({"labels": TASK.labels[1:]}, "each of 6 images"),
    "NaN": (spoiled(torch.nan), "1 of 6 support images hold NaN or infinity, 1 numbers"),
    "infinity": (spoiled(torch.inf), "1 of 6 support images hold NaN"),
    "0 to 255": ({"images": 255 * TASK.images}, "divide them by 255"),
    "bytes": ({"images": (255 * TASK.images).byte()}, r"images.float\(\) / 255"),
    "normalised": ({"images": 4 * TASK.images - 2}, "undo a normalisation"),
    "grey": ({"images": TASK.images[:, :1]}, "n x 3 x height x width"),
}
every_fault = pytest.mark.parametrize(("change", "said"), UNSOUND.values(), ids=UNSOUND)


@pytest.mark.usefixtures("unchecked_shapes")
@every_fault
@every_method
def test_every_method_refuses_an_unsound_support_set(method, change, said):
    with pytest.raises(ConfigError, match=said):
        method(method.view(TARGET), replace(TASK, **change))


READERS = {
    "class means": lambda bad: TARGET.centres(TARGET.theta0, bad),
    "support loss": lambda bad: TARGET.support_loss(TARGET.theta0, bad),
    "accuracy": lambda bad: TARGET.accuracy(TARGET.theta0, Episode(bad, TASK, "", ("a",))),
    "head features": lambda bad: heads.look(TARGET, bad),
    "data set's context": lambda bad: MeanFeatures(TARGET)(bad),
    "data set's number": lambda bad: DatasetId(0, 2)(bad),
}


@pytest.mark.usefixtures("unchecked_shapes")
@every_fault
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_whatever_reads_a_support_set_refuses_an_unsound_one(read, change, said):
    with pytest.raises(ConfigError, match=said.replace("support ", "(support|task) ")):
        read(replace(TASK, **change))


@pytest.mark.usefixtures("unchecked_shapes")
@every_fault
def test_queries_may_lack_a_class_and_nothing_else(change, said):
    def judge(**options):
        query = replace(TASK, **options)
        return TARGET.accuracy(TARGET.theta0, Episode(TASK, query, "", tuple("abc")))

    some = {"images": TASK.images[:2], "labels": TASK.labels[:2]}
    assert 0 <= judge(**some) <= 1
    if "n_way" in change:
        said = "foreign" if change["n_way"] == 2 else r"same classes, got \(3, "
    with pytest.raises(ConfigError, match=said.replace("support", "query")):
        judge(**change)


def test_raw_images_are_checked_too():
    with pytest.raises(ConfigError, match="divide them by 255"):
        TARGET.features(TARGET.theta0, 255 * TASK.images)
    with pytest.raises(ConfigError, match="divide them by 255"):
        TARGET.logits(TARGET.theta0, TASK, 255 * TASK.images)


def test_what_has_diverged_names_no_class(monkeypatch):
    in_world(monkeypatch)
    lost = torch.full_like(TARGET.theta0, torch.nan)
    with pytest.raises(ConfigError, match="6 of 6 queries are not finite.*smaller"):
        TARGET.accuracy(lost, Episode(TASK, TASK, "", tuple("abc")))
    fast = controls.Displacement(delta=lost, name="too fast")
    with pytest.raises(ConfigError, match="too fast, sand, task 0: .*diverged"):
        experiments.evaluate(TARGET, [fast], SHORT)


@pytest.fixture(scope="module")
def ends():
    half = adapt.FewerImages(**HALF | {"method": of("bias-tuning"), "name": "fewer"})
    task = support(n_shot=4)
    return {
        m.name: m(TARGET, task) for m in [*METHODS, half] if m.view(TARGET) is TARGET
    } | {TEACHER: of(TEACHER)(TARGET, task), "fewer": half(TARGET, task)}


@pytest.mark.parametrize("name", [*methods.CONTROLS, "no adaptation", "fewer"])
def test_a_control_differs_from_every_method_and_every_other_control(ends, name):
    for other, theta in ends.items():
        if {name, other} != {"no adaptation", "half of the images"}:
            assert other == name or (ends[name] - theta).norm() > 1e-3


def unmoved():
    return adapt.LearnedFlow(net=tiny_net(TARGET))


DEGENERATE = {
    "the wrong support is the right one": (
        lambda: controls.WrongSupport(method=of("bias-tuning"), support=TASK)(TARGET, TASK),
        "task's own images",
    ),
    "the wrong support is the right one in another order": (
        lambda: controls.WrongSupport(
            method=of("bias-tuning"),
            support=replace(TASK, images=TASK.images.flip(0), labels=TASK.labels.flip(0)),
        )(TARGET, TASK),
        "task's own images",
    ),
    "the wrong support is a part of the right one": (
        lambda: controls.WrongSupport(method=of("bias-tuning"), support=TASK.at_most(3))(
            TARGET, TASK
        ),
        "3 of the task's own images",
    ),
    "the wrong support has one image of the right one": (
        lambda: controls.WrongSupport(
            method=of("bias-tuning"),
            support=replace(OTHER, images=torch.cat([OTHER.images[1:], TASK.images[:1]])),
        )(TARGET, TASK),
        "1 of the task's own images",
    ),
    "a random direction of length 0": (
        lambda: controls.RandomDirection(method=unmoved(), token_size=32)(TARGET, TASK),
        "moves nothing",
    ),
    "a token of one number": (
        lambda: controls.RandomDirection(method=of("bias-tuning"), token_size=1),
        "no other direction",
    ),
    "the nearest of one domain": (
        lambda: controls.NearestDomain.fit(recorded(TARGET, n=1)),
        "nearest of 1 domains",
    ),
    "all of the images": (
        lambda: adapt.FewerImages(**HALF | {"share": 1.0}),
        "'no adaptation' itself",
    ),
    "a flow without a correction that it has not": (
        lambda: methods.named(
            ["X without correction"], methods.Learned(nets={"X": tiny_flow(TARGET)})
        ),
        r"no method \['X without correction'\]",
    ),
    "a method on numbers that are not its own": (
        lambda: methods.GRADIENT["norms"](TARGET, TASK),
        r"'norms' moves \d+ numbers .*the target 192 .*view\(target\)",
    ),
    "averages of all networks": (
        lambda: baselines.averages(torch.eye(2), 3, stream(0), of=2),
        "averages of 2 of 2 networks are all one",
    ),
    "two methods of one name": (
        lambda: experiments.evaluate(TARGET, [of("bias-tuning")] * 2, SHORT),
        r"methods \['bias-tuning'\] come twice",
    ),
    "two seeds that are one": (lambda: StartsConfig(seeds=(0, 0)), "seeds"),
    "generators of one seed": (
        lambda: compare_generators.GeneratorsConfig(seeds=(1, 1)),
        "seeds",
    ),
    "flows of one seed": (lambda: through.StudyConfig(seeds=(1, 1)), "seeds"),
    "heads of one seed": (lambda: compare_heads.HeadsConfig(seeds=(2, 2)), "seeds"),
    "every sample is chosen": (lambda: compare_heads.HeadsConfig(n_samples=3), "no choice"),
    "an unseen data set that was seen": (
        lambda: compare_starts.opened("digits", StartsConfig(), ["digits"]),
        r"\['digits'\] come twice",
    ),
    "two zoos of one data set": (
        lambda: retrieve_networks.open_sets(["digits"] * 2, RetrievalConfig()),
        r"data sets \['digits'\] come twice",
    ),
}


@pytest.mark.parametrize(("build", "said"), DEGENERATE.values(), ids=DEGENERATE)
def test_a_control_that_would_be_its_method_is_refused(build, said):
    with pytest.raises(ConfigError, match=said):
        build()


def test_a_prior_of_other_networks_is_not_one_of_the_same_data_set():
    zoo = shipped("digits")
    with pytest.raises(ConfigError, match=r"\['digits'\] come twice"):
        config = RetrievalConfig.at("smoke")
        sets = [retriever.data_set(zoo, config)]
        retrieve_networks.measure(sets, ["nothing"], config, seed=0, other=zoo)


@pytest.fixture(autouse=True)
def nothing_kept():
    """Domains of one test do not stay in memory for the next."""
    roles.kept.cache_clear()
    yield
    roles.kept.cache_clear()


def alone(monkeypatch, n_classes):
    """A role of one domain with so many classes."""
    domain = noise_domain("rock", [20] * n_classes)
    monkeypatch.setattr(roles, "present", lambda role, root=None: (roles.Source("rock"),))
    monkeypatch.setattr(roles, "open_source", lambda source, role, **looks: domain)


def in_world(monkeypatch):
    small, patches = small_world()
    for name, patch in patches.items():
        monkeypatch.setattr(roles, name, patch)
    return small


QUICK = replace(of("Jacobian flow"), steps=1, method="euler")
FLOW = [QUICK, controls.WrongSupport(method=QUICK)]


@pytest.mark.parametrize("n_classes", [7, 12])
def test_a_domain_that_is_alone_lends_from_classes_that_the_task_has_not(
    monkeypatch, n_classes
):
    alone(monkeypatch, n_classes)
    for trial in experiments.trials(SHORT):
        assert trial.lender == "other classes of rock"
        assert not set(trial.other.classes) & set(trial.episode.classes)
        assert len(trial.other.support.labels) >= len(trial.episode.support.labels)
        right, wrong = trial.episode.support, trial.other.support
        method = replace(FLOW[1], support=wrong)
        assert not torch.equal(method(TARGET, right), FLOW[0](TARGET, right))
    table = experiments.evaluate(TARGET, FLOW, SHORT)
    assert set(table.lender[table.method == "wrong support"]) == {"other classes of rock"}
    assert set(table.lender[table.method == "Jacobian flow"]) == {""}


def test_a_domain_without_other_classes_is_refused_before_any_work(monkeypatch):
    alone(monkeypatch, 6)
    ran = []
    monkeypatch.setattr(experiments, "classifier", lambda *_: ran.append(1))
    with pytest.raises(
        ConfigError, match=r"has 6 classes.*leaves 1 .*leave the control out"
    ):
        experiments.evaluate(TARGET, FLOW, SHORT)
    assert not ran


def test_without_that_control_one_small_domain_is_enough(monkeypatch):
    alone(monkeypatch, 5)
    assert len(experiments.evaluate(TARGET, FLOW[:1], SHORT)) == 2


def test_a_table_of_one_domain_borrows_from_the_next_of_the_role(monkeypatch):
    in_world(monkeypatch)
    both = {(t.domain, t.number): t for t in experiments.trials(SHORT)}
    for name, lender in {"sand": "snow", "snow": "sand"}.items():
        for trial in experiments.trials(replace(SHORT, only=(name,))):
            assert trial.lender == lender == trial.other.domain
            same = both[name, trial.number].other.support.images
            assert torch.equal(trial.other.support.images, same)


def named(name, labels):
    """A domain of noise whose classes have these names."""
    return replace(noise_domain(name, [20] * len(labels)), class_names=tuple(labels))


def together(monkeypatch, **labels):
    """A role of domains whose classes have these names."""
    domains = {name: named(name, classes) for name, classes in labels.items()}
    sources = tuple(map(roles.Source, domains))
    monkeypatch.setattr(roles, "present", lambda role, root=None: sources)
    monkeypatch.setattr(roles, "open_source", lambda s, role, **looks: domains[s.name])
    roles.kept.cache_clear()


@pytest.mark.parametrize("only", [(), ("usps",)])
@pytest.mark.parametrize("third", ["abcdefg", "0abcdefg"])
def test_the_lender_shares_no_class_name_with_the_task(monkeypatch, only, third):
    digits = "0123456789"
    together(monkeypatch, usps=digits, mnist=digits, letters=third)
    lenders = set()
    for trial in experiments.trials(replace(SHORT, n_tasks=4, only=only)):
        assert not {*trial.other.classes} & {*trial.episode.classes}
        lenders |= {trial.lender} if trial.domain == "usps" else set()
    assert "letters" in lenders and "mnist" not in lenders


def test_two_domains_of_the_same_classes_lend_what_is_not_in_the_task(monkeypatch):
    together(monkeypatch, usps="0123456789", mnist="0123456789")
    for trial in experiments.trials(SHORT):
        assert not {*trial.other.classes} & {*trial.episode.classes}
        assert (
            trial.lender.startswith("other classes of") and trial.domain not in trial.lender
        )
    together(monkeypatch, usps="012345", mnist="012345")
    with pytest.raises(
        ConfigError, match="has 6 classes.*leaves 1 .*leave the control out"
    ):
        experiments.evaluate(TARGET, FLOW, SHORT)


def test_rows_of_another_lender_are_measured_anew(monkeypatch, tmp_path):
    alone(monkeypatch, 12)
    experiments.evaluate(TARGET, FLOW, SHORT, folder=tmp_path)
    more = {name: noise_domain(name, [20] * 12) for name in ("rock", "sand")}
    sources = tuple(map(roles.Source, more))
    monkeypatch.setattr(roles, "present", lambda role, root=None: sources)
    monkeypatch.setattr(roles, "open_source", lambda s, role, **looks: more[s.name])
    after = experiments.evaluate(TARGET, FLOW, SHORT, folder=tmp_path)
    assert "other classes of rock" not in set(after.lender)
    wrong = after[(after.method == "wrong support") & (after.domain == "rock")]
    assert set(wrong.lender) == {"sand"} and len(wrong) == 2


def test_heads_are_given_another_tasks_support_too(monkeypatch):
    alone(monkeypatch, 12)
    (met,) = compare_heads.meet([SHORT])
    seen = heads.see(TARGET, met)
    assert (seen.other - seen.support).norm() > 1e-3
    itself = replace(met[0], lend=lambda: met[0].episode)
    with pytest.raises(ConfigError, match="is its own"):
        heads.see(TARGET, [met[1], itself])
    mixed = met[1].episode.support
    images = torch.cat([mixed.images[1:], met[0].episode.support.images[:1]])
    other = replace(met[1].episode, support=replace(mixed, images=images))
    with pytest.raises(ConfigError, match="each of 1 images is its own"):
        heads.see(TARGET, [replace(met[0], lend=lambda: other)])
