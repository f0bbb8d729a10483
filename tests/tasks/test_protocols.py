"""Every protocol draws its episodes from domains in the benchmarks' official layouts."""

import pytest

from hyperlab.base import stream
from hyperlab.tasks import domains
from hyperlab.tasks.protocols import PROTOCOLS
from tests.tasks.miniatures import place


@pytest.fixture(scope="module")
def leaves(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    place("crop_disease", root, n=66)
    return domains.load("crop_disease", root=root, size=8)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_draws_from_a_domain_of_cdfsl(leaves, name):
    episode = PROTOCOLS[name].draw(leaves, generator=stream(0))
    assert episode.support.n_way == 5
    assert set(episode.classes) == set(leaves.class_names)
    if "-shot" in name:
        shots = int(name.removesuffix("-shot").split()[-1])
        assert episode.support.labels.bincount().tolist() == [shots] * 5
        assert episode.query.labels.bincount().tolist() == [15] * 5


def test_results_of_the_benchmarks_take_600_episodes_and_quick_ones_200():
    counts = {name: protocol.n_tasks for name, protocol in PROTOCOLS.items()}
    official = {name for name, n in counts.items() if n == 600}
    assert official == {"Meta-Dataset", *(f"CDFSL {n}-shot" for n in (5, 20, 50))}
    assert set(counts.values()) == {200, 600}


def drawn(name, tmp_path, split):
    place(name, tmp_path)
    domain = domains.load(name, root=tmp_path, size=8, split=split)
    draw = PROTOCOLS["Meta-Dataset"].draw
    classes = [draw(domain, generator=stream(0, i)).classes for i in range(20)]
    return domain, {tuple(sorted(names)) for names in classes}


def test_classes_of_imagenet_come_through_its_graph(tmp_path):
    domain, found = drawn("md_ilsvrc_2012", tmp_path, "train")
    pools = domain.graph.pools(domain.class_names, at_least=5)
    assert found == {tuple(sorted(domain.class_names[k] for k in pool)) for pool in pools}


def test_classes_of_omniglot_come_from_one_alphabet(tmp_path):
    _, found = drawn("md_omniglot", tmp_path, "train")
    alphabets = [{name.split("-")[0] for name in names} for names in found]
    assert {len(names) for names in alphabets} == {1}
    assert set.union(*alphabets) == {"Greek", "Latin"}


def test_classes_of_other_sources_are_any_of_the_split(tmp_path):
    domain, found = drawn("md_aircraft", tmp_path, "test")
    assert found == {tuple(sorted(domain.class_names))} and domain.n_classes == 5
