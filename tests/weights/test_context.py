"""What generators are told: label vectors, sets in any order, every class at its place."""

from dataclasses import replace

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models import belonging
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.weights import context, fields, flow
from hyperlab.weights.context import Caml, DatasetId, MeanFeatures
from tests.tiny import noise_domain, support, tiny_target

SMOKE = context.SetConfig.at("smoke")


@pytest.fixture(scope="module")
def target():
    return tiny_target()


def net(dim, config=SMOKE):
    with flow.lent(stream(0, "net")):
        found = context.SetEncoder(dim, config).eval().requires_grad_(requires_grad=False)
    found.unknown += torch.randn(config.label, generator=stream(0, "unknown"))
    return found


@pytest.fixture(scope="module")
def caml(target):
    return Caml(target, net(target.model.num_features))


@pytest.mark.parametrize(("n", "dim"), [(2, 2), (5, 32), (10, 32), (32, 32)])
def test_label_vectors_are_a_simplex(n, dim):
    vectors = context.elmes(n, dim, stream(0)).double()
    inner = vectors @ vectors.T
    wanted = torch.full((n, n), -1 / (n - 1)).double().fill_diagonal_(1)
    torch.testing.assert_close(inner, wanted, atol=1e-6, rtol=0)
    assert vectors.sum(0).abs().max() < 1e-5
    with pytest.raises(ConfigError, match="want 2 to"):
        context.elmes(dim + 1, dim, stream(0))


def shuffled(pool, seed=0):
    order = torch.randperm(len(pool.labels), generator=stream(seed, "order"))
    return replace(pool, images=pool.images[order], labels=pool.labels[order])


@pytest.mark.parametrize("kind", ["caml", "means"])
def test_the_order_of_the_images_changes_nothing_that_of_the_classes_does(
    kind, target, caml
):
    encoder = {"caml": caml, "means": MeanFeatures(target)}[kind]
    pool = support(n_way=4, n_shot=3)
    told = encoder(pool)
    torch.testing.assert_close(encoder(shuffled(pool)), told, atol=1e-4, rtol=1e-4)
    other = encoder(replace(pool, labels=(pool.labels + 1) % 4))
    assert (other - told).abs().max() > 0.01


def test_every_class_stands_at_its_labels_place(target):
    encoder, pool = MeanFeatures(target), support(n_way=3, n_shot=2)
    told, turned = encoder(pool), encoder(replace(pool, labels=(pool.labels + 1) % 3))
    parts, others = told.unflatten(0, (3, -1)), turned.unflatten(0, (3, -1))
    torch.testing.assert_close(others, parts.roll(1, 0))
    features = encoder.read(pool.images)
    torch.testing.assert_close(parts[0], features[pool.labels == 0].mean(0))


def test_a_query_reads_the_set_and_no_other_query():
    encoder = net(8)
    features, queries = torch.randn(2, 1, 6, 8, generator=stream(1))
    labels = torch.tensor([[0, 0, 1, 1, 2, 2]])
    together = encoder(features, labels, queries)
    alone = encoder(features, labels, queries[:, 3:4])
    torch.testing.assert_close(together[:, 3:4], alone)
    assert (encoder(-features, labels, queries) - together).abs().max() > 0.01


def test_classes_that_a_set_lacks_are_never_named():
    encoder = net(8)
    features = torch.randn(3, 4, 8, generator=stream(2))
    labels = torch.tensor([[0, 0, 1, 1]]).expand(3, -1)
    said = encoder.logits(features, labels, features)
    assert said.shape == (3, 4, 10)
    assert said[..., :2].isfinite().all() and said[..., 2:].isneginf().all()


def test_a_data_sets_number_is_told_without_a_look():
    first, second = (DatasetId(i, 3)(support(seed=i)) for i in (0, 2))
    assert first.tolist() == [1, 0, 0] and second.tolist() == [0, 0, 1]
    with pytest.raises(ConfigError, match="data sets 0 to 2"):
        DatasetId(3, 3)
    with pytest.raises(ConfigError, match="tells nothing"):
        DatasetId(0, 1)


def test_a_support_set_lacks_no_class_and_has_no_foreign_one(caml):
    pool = support(n_way=3)
    with pytest.raises(ConfigError, match=r"lacking: \[3\]"):
        caml(replace(pool, n_way=4))
    with pytest.raises(ConfigError, match=r"foreign: \[2\]"):
        caml(replace(pool, n_way=2))
    with pytest.raises(ConfigError, match="up to 10 classes, got 11"):
        caml(support(n_way=11))


def test_random_rows_are_of_every_class_alike_or_all_there_are():
    labels = torch.tensor([0] * 9 + [1] * 2 + [2] * 5)
    rows = context.draw_rows(labels, 3, 4, stream(0))
    assert labels[rows].bincount().tolist() == [4, 2, 4]
    assert len(rows.unique()) == len(rows)
    pool = LabelledImages(torch.rand(16, 3, 8, 8, generator=stream(1)), labels, 3)
    some = context.draw_support(pool, 4, stream(0))
    assert torch.equal(some.images, pool.images[rows])


def test_contexts_of_random_sets_are_those_of_the_images_drawn(caml):
    pool = support(n_way=3, n_shot=6)
    found = context.draw_contexts(caml, pool, 2, n_shot=2, generator=stream(3))
    one = caml(context.draw_support(pool, 2, stream(3)))
    torch.testing.assert_close(found[0], one, atol=1e-4, rtol=1e-4)
    assert (found[1] - one).abs().max() > 1e-3


def blobs(n_classes, seed):
    """Features of classes that lie apart."""
    centres = 3 * torch.randn(n_classes, 8, generator=stream(seed, "centres"))
    labels = torch.arange(n_classes).repeat_interleave(6)
    noise = torch.randn(len(labels), 8, generator=stream(seed, "noise"))
    return centres[labels] + 0.3 * noise, labels


def test_a_set_encoder_learns_to_name_new_classes():
    config = replace(SMOKE, n_classes=4, steps=300, batch=8)
    pools = [blobs(30, seed) for seed in (0, 1)]
    found = context.fit_sets(pools, config, generator=stream(4))
    how = {"n_sets": 50, "n_shot": 2, "generator": stream(5)}
    assert context.right_share(found, [blobs(30, 2)], **how) > 0.6
    with pytest.raises(ConfigError, match="4 classes with 3 images each; have 3"):
        context.fit_sets([blobs(3, 0)], config, generator=stream(4))


def test_drawn_sets_hold_one_domain_and_no_query_twice():
    pools = [(torch.arange(24.0)[:, None], torch.arange(24) // 4)]
    known, labels, asked = context.draw_sets(pools, (5, 3, 2), stream(6))
    assert known.shape == (5, 6, 1) and asked.shape == (5, 3, 1)
    classes = (known // 4).view(5, 3, 2)
    assert (classes[..., 0] == classes[..., 1]).all()
    assert torch.equal((asked // 4)[..., 0], classes[..., 0])
    assert not (known.view(5, 3, 2) == asked).any()
    assert labels[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_features_of_a_domain_are_read_with_its_labels(target):
    encoder, domain = MeanFeatures(target), noise_domain("sand", [5, 4, 3])
    features, labels = context.pool_of(encoder, domain, most=9)
    assert labels.tolist() == [0] * 5 + [1] * 4
    rows = torch.cat(domain.members)[:9]
    torch.testing.assert_close(features, encoder.read(domain.batch(rows)))


def test_the_shipped_encoder_is_small_and_tells_pictures_apart():
    assert context.SHIPPED.stat().st_size < 500_000
    found = context.shipped()
    told = [found(support(n_way=10, n_shot=2, seed=s, size=32)) for s in (0, 1)]
    assert told[0].shape == (1280,) and (told[0] - told[1]).norm() > 1


@pytest.mark.parametrize("shape", [(), (2, 2), (1, 2, 2)])
@pytest.mark.parametrize("join", list(fields.JOINS))
def test_a_field_listens_to_its_context_however_it_is_joined(shape, join):
    with flow.lent(stream(8)):
        found = fields.field(4, shape=shape, width=8, depth=2, context=3, join=join)
    x, told, t = (torch.randn(3, n, generator=stream(9, n)) for n in (4, 3, 1))
    t = t[:, 0].sigmoid()
    out = found(t, x, told)
    assert out.shape == x.shape
    assert (found(t, x, -told) - out).abs().max() > 1e-4
    with pytest.raises(ConfigError, match="3 numbers of context, got none"):
        found(t, x)
    with pytest.raises(ConfigError, match="unknown option 'aloud'"):
        flow.FlowConfig(join="aloud")


def test_a_set_encoder_of_another_backbones_features_is_refused(target):
    learned = net(target.model.num_features)
    learned.target = belonging.described(target)
    assert len(Caml(target, learned)(support(n_way=2)))
    with pytest.raises(ConfigError, match="this set encoder was made for tiny-"):
        Caml(tiny_target(seed=1), learned)
