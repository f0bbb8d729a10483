"""Episodes obey the samplers they are named after."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlab.base import ConfigError, stream
from hyperlab.tasks import episodes
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import (
    COURSE_RULES,
    OFFICIAL_RULES,
    ClassGraph,
    MetaDatasetRules,
)


def domain_of(counts, groups=None):
    """A domain whose one-pixel images tell their index: red low byte, green high byte."""
    index = torch.arange(sum(counts))
    images = torch.stack([index % 256, index // 256, 0 * index], 1)[:, :, None, None]
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    names = tuple(f"class{i}" for i in range(len(counts)))
    return Domain("toy", images.to(torch.uint8), labels, names, groups)


def indices(part):
    red, green, _ = (part.images[:, :, 0, 0] * 255).round().long().T
    return red + 256 * green


def drawn(domain, n, **options):
    draw = partial(episodes.sample_variable, **options)
    return list(episodes.seeded(domain, n, seed=0, draw=draw))


def every_image_belongs_to_its_class_and_is_used_once(domain, episode):
    chosen = torch.cat([indices(episode.support), indices(episode.query)])
    assert len(chosen.unique()) == len(chosen)
    labels = torch.cat([episode.support.labels, episode.query.labels])
    names = [domain.class_names[c] for c in domain.labels[chosen].tolist()]
    assert names == [episode.classes[label] for label in labels.tolist()]


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 60), min_size=5, max_size=20), seed=st.integers(0, 2**32)
)
def test_a_variable_episode_keeps_every_bound_of_meta_dataset(counts, seed):
    domain = domain_of(counts)
    episode = episodes.sample_variable(domain, generator=stream(seed))
    shots, queries = episode.support.labels.bincount(), episode.query.labels.bincount()
    n = torch.tensor([counts[domain.class_names.index(name)] for name in episode.classes])
    assert 5 <= episode.support.n_way == len(set(episode.classes)) <= 50
    assert queries.tolist() == [min(10, min(n.tolist()) // 2)] * len(n)
    assert shots.min() >= 1 and (shots + queries <= n).all()
    assert shots.sum() <= 500
    every_image_belongs_to_its_class_and_is_used_once(domain, episode)


def test_a_fixed_episode_has_the_asked_number_of_images_of_every_class():
    domain = domain_of([20] * 8)
    draw = partial(episodes.sample, n_way=4, n_shot=3, n_query=7)
    for episode in episodes.seeded(domain, 5, seed=1, draw=draw):
        assert episode.support.labels.bincount().tolist() == [3] * 4
        assert episode.query.labels.bincount().tolist() == [7] * 4
        assert (
            episode.support.n_way == episode.query.n_way == len(set(episode.classes)) == 4
        )
        every_image_belongs_to_its_class_and_is_used_once(domain, episode)


@pytest.mark.parametrize(
    ("counts", "way", "support", "query"),
    [([100] * 15, 9.9, 338, 99), ([60] * 30, 17.5, 317, 175), ([120] * 7, 6.0, 282, 60)],
    ids=["aircraft", "birds", "dtd"],
)
def test_average_sizes_are_those_of_meta_datasets_test_split(counts, way, support, query):
    """Against an independent simulation of the rules on the official class counts."""
    counts, g, rows = torch.tensor(counts), stream(0), []
    for _ in range(1000):
        n = episodes.draw_way(len(counts), OFFICIAL_RULES, generator=g)
        shots, n_query = episodes.draw_sizes(counts[:n], OFFICIAL_RULES, generator=g)
        rows.append([n, int(shots.sum()), n * n_query])
    mean = torch.tensor(rows).double().mean(0).tolist()
    assert mean == pytest.approx([way, support, query], rel=0.04)


def test_shots_follow_the_weights_and_the_size_of_the_class():
    """With equal weights a class four times as large gets four times as many images."""
    rules = MetaDatasetRules(min_log_weight=0.0, max_log_weight=0.0)
    counts = torch.tensor([400, 100, 100, 100, 100])
    shots, n_query = episodes.draw_sizes(counts, rules, generator=stream(3))
    assert n_query == 10
    assert (shots[0] - 1).item() == pytest.approx(4 * (shots[1] - 1).item(), abs=4)
    assert len(set(shots[1:].tolist())) == 1


def test_course_rules_hold_50_to_250_support_images():
    found = drawn(domain_of([40] * 25), 40, rules=COURSE_RULES)
    sizes = [len(episode.support.labels) for episode in found]
    ways = [episode.support.n_way for episode in found]
    assert min(sizes) >= 50 and max(sizes) <= 250
    assert min(ways) >= 5 and max(ways) <= 20 and len(set(ways)) > 5


def test_scales_differ_in_their_caps_and_paper_is_the_official_one():
    assert MetaDatasetRules.at("paper") == OFFICIAL_RULES
    assert OFFICIAL_RULES.max_support_set_size == 500 and OFFICIAL_RULES.max_ways == 50
    assert MetaDatasetRules.at("smoke").max_support_set_size <= 60
    with pytest.raises(ConfigError, match="laptop"):
        MetaDatasetRules.at("tiny")


def test_classes_come_from_one_alphabet_as_omniglot_asks():
    alphabets = ("greek",) * 6 + ("latin",) * 9 + ("short",) * 3
    domain = domain_of([20] * 18, alphabets)
    seen = set()
    for episode in drawn(domain, 30):
        names = {alphabets[domain.class_names.index(name)] for name in episode.classes}
        assert len(names) == 1
        seen |= names
    assert seen == {"greek", "latin"}  # an alphabet of three cannot make five ways


def tree(n_left, n_right):
    left = {f"class{i}": ["left"] for i in range(n_left)}
    right = {f"class{n_left + i}": ["right"] for i in range(n_right)}
    return ClassGraph(left | right | {"left": ["root"], "right": ["root"]})


def test_a_graph_gives_all_classes_below_one_of_its_nodes_or_50_of_them():
    ways = [e.support.n_way for e in drawn(domain_of([4] * 13), 30, graph=tree(5, 8))]
    assert set(ways) == {5, 8, 13}
    graph, domain = tree(4, 60), domain_of([2] * 64)
    assert {e.support.n_way for e in drawn(domain, 10, graph=graph)} == {50}
    below = [len(pool) for pool in graph.pools(domain.class_names, at_least=5, at_most=60)]
    assert below == [60]  # too small a node gives none, nor does a huge one


def test_a_class_with_two_parents_counts_under_both_and_once_under_their_root():
    graph = ClassGraph({**dict.fromkeys("xy", ["root"]), "a": "xy", "b": "x", "c": "y"})
    pools = graph.pools(("a", "b", "c"), at_least=2)
    assert sorted(map(sorted, pools)) == [[0, 1], [0, 1, 2], [0, 2]]


def test_episode_i_is_the_same_however_many_are_asked_for():
    domain = domain_of([30] * 12)
    for draw in (episodes.sample, episodes.sample_variable):
        few = list(episodes.seeded(domain, 2, seed=5, draw=draw))
        many = list(episodes.seeded(domain, 4, seed=5, draw=draw))
        assert few[1].classes == many[1].classes
        assert torch.equal(few[1].query.images, many[1].query.images)
        assert many[0].classes != many[1].classes


def test_one_style_changes_support_and_query_alike():
    domain, invert = domain_of([30] * 6), lambda images: 1 - images
    plain = episodes.sample(domain, generator=stream(0))
    styled = episodes.sample(domain, style=invert, generator=stream(0))
    torch.testing.assert_close(styled.support.images, 1 - plain.support.images)
    torch.testing.assert_close(styled.query.images, 1 - plain.query.images)


def test_cdfsl_is_five_ways_with_fifteen_queries():
    assert sorted(episodes.CDFSL) == [5, 20, 50] and episodes.CDFSL_EPISODES == 600
    draw = partial(episodes.sample, **episodes.CDFSL[50])
    episode = draw(domain_of([65] * 6), generator=stream(0))
    assert len(episode.support.labels) == 250 and len(episode.query.labels) == 75


@pytest.mark.parametrize(
    ("draw", "counts", "groups", "message"),
    [
        (episodes.sample, [30, 9, 30, 30, 30, 30], None, "'class1' has 9 images"),
        (episodes.sample, [30] * 3, None, "3 classes, asked for 5"),
        (partial(episodes.sample, n_shot=0), [30] * 5, None, "start at 1"),
        (episodes.sample_variable, [30] * 4, None, "4 classes, asked for at least 5"),
        (episodes.sample_variable, [30] * 4 + [1], None, "'class4' has 1 images"),
        (episodes.sample_variable, [9] * 8, (0,) * 4 + (1,) * 4, "group 0: 4 classes"),
        (partial(episodes.sample_variable, rules=COURSE_RULES), [8] * 6, None, "8 images"),
        (partial(episodes.sample_variable, graph=tree(2, 2)), [9] * 6, None, "span .2, 4."),
    ],
)
def test_an_infeasible_request_names_the_class_and_the_count(draw, counts, groups, message):
    with pytest.raises(ConfigError, match=message):
        draw(domain_of(counts, groups), generator=stream(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_ways": 8, "max_ways": 5}, "min <= max"),
        ({"max_support_set_size": 20}, "below max_ways=50"),
        ({"max_num_query": 0}, "query and a support image"),
        ({"min_log_weight": 1.0}, "log weights"),
    ],
)
def test_rules_that_contradict_themselves_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        MetaDatasetRules(**options)


def test_at_most_takes_the_first_of_every_class_as_evenly_as_they_allow():
    labels = torch.tensor([0] * 6 + [1] * 1 + [2] * 5)
    images = torch.arange(12.0)[:, None, None, None].expand(-1, 3, 2, 2)
    whole = episodes.LabelledImages(images, labels, 3)
    few = whole.at_most(7)
    assert torch.bincount(few.labels).tolist() == [3, 1, 3]
    assert few.images[:, 0, 0, 0].tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert torch.equal(whole.at_most(99).labels, labels)
    with pytest.raises(ConfigError, match="3 classes need an image each"):
        whole.at_most(2)
