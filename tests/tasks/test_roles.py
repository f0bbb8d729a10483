"""Roles: the course's stay apart from the benchmarks', and each says what it lacks."""

import pytest
import write_cards

from hyperlab.base import DataMissingError
from hyperlab.tasks import roles
from tests.tasks.miniatures import place


def test_meta_dataset_trains_on_eight_sources_and_tests_on_thirteen():
    names = {k: [s.name for s in sources] for k, sources in roles.BENCHMARKS.items()}
    assert [len(found) for found in names.values()] == [8, 8, 13, 4]
    assert names["meta_dataset_train"] == names["meta_dataset_val"]
    assert names["meta_dataset_test"][:8] == names["meta_dataset_train"]
    for role, split in (("train", "train"), ("val", "val"), ("test", "test")):
        assert {s.split for s in roles.BENCHMARKS[f"meta_dataset_{role}"]} == {split}


def test_splits_of_a_role_share_no_class(tmp_path):
    place("md_aircraft", tmp_path)
    seen = {}
    for role in ("meta_dataset_train", "meta_dataset_val", "meta_dataset_test"):
        ((source, domain),) = roles.open_role(role, root=tmp_path, size=8)
        assert source.name == domain.name == "md_aircraft"
        assert domain.images.shape[-2:] == (8, 8)
        seen[role] = set(domain.class_names)
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 16


def test_a_benchmark_of_which_nothing_is_here_says_what_it_takes(tmp_path):
    with pytest.raises(DataMissingError, match=r"nothing of role 'cdfsl' in .*'chest_x'"):
        roles.present("cdfsl", root=tmp_path)


def test_a_family_is_drawn_as_asked():
    drawing = roles.Drawing(n_classes=3, n_per_class=2, seed=4)
    domain = roles.open_source(
        roles.Source("glyphs"), "validation", size=12, drawing=drawing
    )
    assert domain.images.shape[0] == 6 and domain.images.shape[-2:] == (12, 12)
    assert domain.class_names[0] == "glyphs 2000"


def test_table_of_domains_is_about_the_course_alone():
    lines = write_cards.roles_table().splitlines()
    assert lines[2].split("|")[3:-1] == [f" {role} " for role in roles.COURSE]
    assert len(roles.COURSE) == 4 and "md_" not in "".join(lines)
