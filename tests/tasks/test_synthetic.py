"""Procedural domains are seeded, disjoint, and neither trivial nor hopeless."""

import numpy as np
import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.tasks.drawn.synthetic import FAMILIES, HELD_OUT, TRAIN_FAMILIES, render

EVERY_FAMILY = pytest.mark.parametrize("name", FAMILIES)


def pixels(domain):
    """Images as float, classes x images x pixels."""
    images = torch.as_tensor(np.asarray(domain.images)).float() / 255
    return images.reshape(domain.n_classes, -1, images[0].numel())


def nearest_centroid_accuracy(images, *, n_tasks=30, n_way=5, n_shot=5):
    """Mean accuracy of the nearest class mean in pixels, over random few-shot tasks."""
    generator, right = stream(0, "centroids"), []
    for _ in range(n_tasks):
        task = images[torch.randperm(len(images), generator=generator)[:n_way]]
        task = task[:, torch.randperm(task.shape[1], generator=generator)]
        support, query = task[:, :n_shot].mean(1), task[:, n_shot:]
        guess = torch.cdist(query.flatten(0, 1), support).argmin(1).reshape(n_way, -1)
        right.append((guess == torch.arange(n_way)[:, None]).float().mean())
    return torch.stack(right).mean().item()


def test_there_are_twelve_families_or_more_and_some_are_for_evaluation_alone():
    assert len(FAMILIES) >= 12
    assert 2 <= len(HELD_OUT) <= 4
    assert set(HELD_OUT) | set(TRAIN_FAMILIES) == set(FAMILIES)
    assert not set(HELD_OUT) & set(TRAIN_FAMILIES)


@EVERY_FAMILY
def test_a_family_renders_bytes_in_the_counts_asked_for(name):
    domain = render(name, n_classes=3, n_per_class=4, size=24, first_class=7)
    assert domain.images.shape in ((12, 1, 24, 24), (12, 3, 24, 24))
    assert domain.images.dtype == np.uint8
    assert domain.counts.tolist() == [4, 4, 4]
    assert domain.class_names == tuple(f"{name} {k}" for k in (7, 8, 9))


@EVERY_FAMILY
def test_a_picture_is_the_same_whatever_the_counts_and_another_for_another_seed(name):
    many = render(name, n_classes=4, n_per_class=4, seed=2)
    few = render(name, n_classes=2, n_per_class=2, seed=2, first_class=1)
    rows = torch.cat([many.members[1][:2], many.members[2][:2]])
    assert np.array_equal(few.images, many.images[rows])
    assert len(pixels(many).flatten(0, 1).unique(dim=0)) == 16
    other = render(name, n_classes=1, n_per_class=1, seed=1).images
    assert other.shape[1] != many.images.shape[1] or (other[0] != many.images[0]).any()


@EVERY_FAMILY
def test_pictures_are_neither_blank_nor_saturated_and_of_sixty_different_classes(name):
    images = pixels(render(name, n_classes=60, n_per_class=2))
    assert (images.std(dim=2) > 0.01).all()
    assert 0.02 < images.mean() < 0.98
    means = images.mean(1)
    distance = torch.cdist(means, means).fill_diagonal_(torch.inf)
    assert distance.min() > 0.2


@EVERY_FAMILY
def test_pixels_alone_solve_five_way_tasks_partly(name):
    images = pixels(render(name, n_classes=12, n_per_class=9))
    assert 0.25 < nearest_centroid_accuracy(images) < 0.95


def test_disjoint_class_ranges_share_no_class():
    train = render("runes", n_classes=30, n_per_class=1)
    test = render("runes", n_classes=30, n_per_class=1, first_class=30)
    assert not set(train.class_names) & set(test.class_names)
    assert len(np.unique(np.concatenate([train.images, test.images]), axis=0)) == 60


def test_an_unknown_family_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"'cats'.*'characters'"):
        render("cats")


@pytest.mark.parametrize(
    "wrong",
    [{"n_classes": 0}, {"n_per_class": -1}, {"size": 4}, {"seed": -1}, {"first_class": -2}],
)
def test_impossible_counts_are_refused(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        render("runes", **wrong)


def test_a_domain_carries_its_origin():
    domain = render("land_cover", n_classes=1, n_per_class=1, seed=4)
    assert domain.name == "land_cover-4"
    assert "EuroSAT" in domain.source
