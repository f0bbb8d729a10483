"""Heads of base tasks, and the generators that are told of a task."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from hyperlab.base import ConfigError, stream
from hyperlab.models import targets
from hyperlab.tasks import domains
from hyperlab.weights import head_generators as generators
from hyperlab.weights import heads
from hyperlab.weights.flow import FlowConfig

DIM = 6


def features(tasks=3, n=7, seed=0):
    """Tasks of five noisy classes."""
    g = stream(seed, "features")
    centres = torch.randn(tasks, 5, 1, DIM, generator=g)
    return centres + 0.7 * torch.randn(tasks, 5, n, DIM, generator=g)


def bank(seed=0, n_classes=8, n=9):
    x = features(1, n_classes * n, seed)[0].flatten(0, 1)[: n_classes * n]
    members = torch.arange(n_classes * n).split(n)
    centres = torch.randn(n_classes, DIM, generator=stream(seed, "bank"))
    x = x + centres.repeat_interleave(n, 0)
    return heads.Bank(torch.stack([x, -x]), members)


def test_heads_are_scikit_learns_logistic_regressions():
    x = features()
    found = heads.fit_heads(x, l2=0.1, steps=2_000, lr=0.02)
    y = torch.arange(5).repeat_interleave(7)
    for one, head in zip(x.flatten(1, 2), found, strict=True):
        model = LogisticRegression(C=1 / (0.1 * len(one)), tol=1e-8).fit(
            one.numpy(), y.numpy()
        )
        wanted = torch.from_numpy(model.predict_proba(one.numpy())).float()
        torch.testing.assert_close(
            heads.head_logits(head, one).softmax(1), wanted, rtol=0, atol=5e-3
        )


def test_a_task_is_fitted_the_same_whatever_is_beside_it():
    x = features()
    torch.testing.assert_close(heads.fit_heads(x)[1:2], heads.fit_heads(x[1:2]))


def test_rows_sum_to_zero():
    for head in (heads.fit_heads(features()), heads.mean_heads(features())):
        torch.testing.assert_close(head.sum(1), torch.zeros(3, DIM + 1), rtol=0, atol=1e-4)


def test_mean_heads_name_the_nearest_class_mean():
    x = features()
    queries = features(seed=1).flatten(1, 2)
    named = heads.head_logits(heads.mean_heads(x), queries).argmax(2)
    assert torch.equal(named, torch.cdist(queries, x.mean(2)).argmin(2))


def test_whitened_classes_have_unit_covariance():
    x = features(tasks=200)
    whiten = heads.Whitening.fit(x, noise=0.0)
    white = whiten(x)
    within = (white - white.mean(2, keepdim=True)).flatten(0, 2)
    covariance = within.T @ within / len(within) * 7 / 6
    torch.testing.assert_close(covariance, torch.eye(DIM), rtol=0, atol=1e-3)


def test_drawn_tasks_have_five_classes_and_their_support_is_among_the_many():
    how = {"n_shot": 2, "n_train": 5}
    banks = {"a": bank(0), "b": bank(1)}
    drawn = heads.draw_tasks(banks, 6, **how, generator=stream(0, "draw"))
    assert drawn.support.shape == (6, 5, 2, DIM) and drawn.train.shape == (6, 5, 5, DIM)
    assert torch.equal(drawn.support, drawn.train[:, :, :2])
    assert len(drawn.train.flatten(0, 2).unique(dim=0)) > 100
    again = heads.draw_tasks(banks, 6, **how, generator=stream(0, "draw"))
    assert torch.equal(drawn.train, again.train)
    with pytest.raises(ConfigError, match="banks"):
        heads.draw_tasks({}, 1, **how, generator=stream(0, "draw"))


def test_a_small_class_shows_its_images_again():
    how = {"n_shot": 1, "n_train": 20, "generator": stream(0, "draw")}
    drawn = heads.draw_tasks({"a": bank(n=3)}, 1, **how)
    assert all(len(rows.unique(dim=0)) == 3 for rows in drawn.train[0])


def test_a_bank_holds_every_look_and_leaves_small_classes_out():
    target, digits = targets.load("vit_micro"), domains.load("digits")
    config = heads.BaseConfig(looks=1, classes=6, per_class=2)
    found = heads.read_bank(target, digits, config, generator=stream(0, "bank"))
    assert found.features.shape == (2, 12, 96) and len(found.members) == 6
    with pytest.raises(ConfigError, match="digits has 0 classes"):
        heads.read_bank(target, digits, config, least=10**6, generator=stream(0, "bank"))


QUICK = FlowConfig(prior="normal", width=32, depth=1, steps=300, batch=128, lr=3e-3)
BASE = heads.BaseConfig(steps=20)


def planted(tasks=400):
    """What is missing from the support's head is a linear map of what is told."""
    x = features(tasks, n=2)
    whiten = heads.Whitening(torch.zeros(DIM), torch.eye(DIM))
    told, start = heads.tell(whiten(x), BASE)
    missing = told[..., : DIM + 1] * torch.linspace(-2, 2, DIM + 1)
    return x, whiten, heads.HeadSet(told, start, start + missing)


@pytest.mark.parametrize(
    ("kind", "by", "most"),
    [
        ("ridge", "row", 0.1),
        ("ridge", "head", 0.1),
        ("flow", "row", 0.5),
        ("flow", "head", 0.9),
        ("diffusion", "row", 0.5),
    ],
)
def test_a_generator_finds_the_planted_heads(kind, by, most):
    x, whiten, found = planted()
    sizes = {"latent": DIM + 1, "orders": 2}
    config = generators.GeneratorConfig(kind=kind, by=by, flow=QUICK, **sizes)
    made = generators.fit_generator(
        found, whiten, BASE, config, generator=stream(0, kind, by)
    )
    drawn = made.sample(x[:20], 8, steps=20, generator=stream(0, "sample"))
    assert drawn.shape == (20, 8, 5, DIM + 1)
    wanted = found.heads[:20]
    error = (drawn.mean(1) - wanted).norm() / (found.start[:20] - wanted).norm()
    assert error < most


def generator_of(x, whiten, found, config):
    return generators.fit_generator(found, whiten, BASE, config, generator=stream(0, "g"))


RIDGE = generators.GeneratorConfig(kind="ridge", latent=DIM)


def test_rows_follow_their_classes():
    x, *known = planted(50)
    made = generator_of(x, *known, RIDGE)
    order, how = [3, 0, 4, 1, 2], {"generator": stream(0, "sample")}
    straight, turned = (made.sample(part[:4], 1, **how) for part in (x, x[:, order]))
    torch.testing.assert_close(straight[:, :, order], turned, rtol=0, atol=1e-3)


def test_what_is_told_of_another_task_changes_the_heads():
    x, *known = planted(50)
    made, how = generator_of(x, *known, RIDGE), {"generator": stream(0, "sample")}
    right, wrong = (made.sample(x[:4], 1, about=a, **how) for a in (None, x[4:8]))
    same = made.sample(x[:4], 1, about=x[:4], **how)
    torch.testing.assert_close(right, same)
    assert (right - wrong).norm() > 0.1 * right.norm()


def test_a_variational_autoencoder_may_write_the_rows():
    x, *known = planted(60)
    few = FlowConfig(steps=20, width=16, depth=1)
    config = generators.GeneratorConfig(encoder="vae", latent=3, flow=few)
    drawn = generator_of(x, *known, config).sample(
        x[:2], 3, steps=2, generator=stream(0, "s")
    )
    assert drawn.shape == (2, 3, 5, DIM + 1) and drawn.isfinite().all()


def test_code_and_context_change_places_together():
    codes = torch.arange(20.0).view(4, 5, 1)
    told = torch.cat([codes, -codes], 2)
    some, about = generators.in_orders(codes, told, 3, stream(0, "orders"))
    assert some.shape == (12, 5, 1) and torch.equal(about, torch.cat([some, -some], 2))
    assert torch.equal(some.sort(1).values, codes.repeat(3, 1, 1))
    assert not torch.equal(some, codes.repeat(3, 1, 1))


def test_learned_heads_have_both_ends_for_every_number_of_shots():
    config = heads.BaseConfig(n_tasks=6, shots=(1, 3), n_train=5, steps=5)
    banks = {"a": bank(0), "b": bank(1)}
    whiten = heads.Whitening.fit(features(20))
    found = heads.learn_heads(banks, whiten, config, generator=stream(0, "l"))
    assert found.heads.shape == found.start.shape == (6, 5, DIM + 1)
    assert found.context[:, 0, -1].tolist() == pytest.approx([1, 1, 1, 1 / 3, 1 / 3, 1 / 3])


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"n_tasks": 0}, {"looks": -1}, {"shots": (0,)}):
        with pytest.raises(ConfigError):
            heads.BaseConfig(**wrong)
    for wrong in ({"kind": "magic"}, {"by": "column"}, {"encoder": "zip"}):
        with pytest.raises(ConfigError):
            generators.GeneratorConfig(**wrong)
