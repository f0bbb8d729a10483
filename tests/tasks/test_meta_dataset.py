"""Meta-Dataset's records give their images, in the splits, groups and hierarchies of the spec."""

import json
import struct
from functools import partial

import numpy as np
import pytest

from hyperlab.base import ArtifactError, ConfigError, DataMissingError
from hyperlab.tasks import domains, meta_dataset
from hyperlab.tasks.catalogue import CATALOGUE
from hyperlab.tasks.roles import META_DATASET, TEST_ONLY
from tests.tasks.miniatures import (
    encoded,
    example,
    noise,
    place,
    write_plain,
    write_tfrecords,
)


@pytest.mark.parametrize("packed", [True, False])
def test_records_open_as_the_images_that_were_written(tmp_path, packed):
    images = [b"first", b"s" * 300, b"third"]
    path = tmp_path / "0.tfrecords"
    write_tfrecords(
        path, [example(x, 300 + i, packed=packed) for i, x in enumerate(images)]
    )
    found = meta_dataset.labelled(path)
    assert [record.open("rb").read() for record, _ in found] == images
    assert [label for _, label in found] == [300, 301, 302]
    assert meta_dataset.labelled(path, at_most=2) == found[:2]
    path.write_bytes(b"")
    assert meta_dataset.labelled(path) == []


FOREIGN = {
    "no TFRecord file": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "has no image and label": struct.pack("<QIBI", 1, 0, 0x0B, 0),
}


@pytest.mark.parametrize("message", FOREIGN)
def test_foreign_file_is_refused(tmp_path, message):
    (tmp_path / "0.tfrecords").write_bytes(FOREIGN[message])
    with pytest.raises(ArtifactError, match=message):
        meta_dataset.labelled(tmp_path / "0.tfrecords")


SPLITS = {
    "md_aircraft": {"train": 6, "val": 5, "test": 5},
    "md_omniglot": {"train": 11, "val": 5, "test": 5},
    "md_ilsvrc_2012": {"train": 11, "val": 5, "test": 5},
}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_are_disjoint_ranges_of_the_class_ids(tmp_path, name):
    place(name, tmp_path)
    whole = domains.load(name, root=tmp_path, size=8).class_names
    parts = {k: domains.load(name, root=tmp_path, size=8, split=k) for k in SPLITS[name]}
    assert {k: part.n_classes for k, part in parts.items()} == SPLITS[name]
    assert sum((part.class_names for part in parts.values()), ()) == whole


def test_groups_are_the_alphabets(tmp_path):
    place("md_omniglot", tmp_path)
    part = domains.load("md_omniglot", root=tmp_path, size=8, split="train")
    assert part.groups == ("Greek",) * 5 + ("Latin",) * 6
    assert part.class_names[5] == "Latin-character05"


def test_graph_of_a_split_has_its_nodes_alone(tmp_path):
    place("md_ilsvrc_2012", tmp_path)
    load = partial(domains.load, "md_ilsvrc_2012", root=tmp_path, size=8)
    for split, sizes in {"train": [5, 6, 11], "val": [5, 5], "test": [5, 5]}.items():
        part = load(split=split)
        pools = part.graph.pools(part.class_names, at_least=5)
        assert sorted(map(len, pools)) == sizes
        assert part.only([3, 1]).graph is part.graph
    assert load().graph is None


def edit(folder, **changes):
    path = folder / "dataset_spec.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8"
    )


def test_pools_of_a_class_become_one_class(tmp_path):
    images, labels, _ = write_plain(tmp_path)
    for k in range(16):
        (tmp_path / f"{k}.tfrecords").rename(tmp_path / f"{k}_train.tfrecords")
        write_tfrecords(
            tmp_path / f"{k}_test.tfrecords", [example(encoded(noise(9, 9, 3)), k)]
        )
    counts = {str(k): {"test": 1, "train": n} for k, n in enumerate(np.bincount(labels))}
    counts = {k: {pool: int(n) for pool, n in pools.items()} for k, pools in counts.items()}
    edit(tmp_path, file_pattern="{}_{}.tfrecords", images_per_class=counts)
    assert len(meta_dataset.read(tmp_path).images) == len(images) + 16


def test_at_most_so_many_images_of_a_class_are_taken(tmp_path):
    write_plain(tmp_path)
    part = meta_dataset.read(tmp_path, at_most=4)
    assert part.labels.bincount().tolist() == [4, 4, 3] + [4] * 13


def test_only_quickdraw_is_cut_down(tmp_path):
    cut = {
        k: e.read.keywords["at_most"]
        for k, e in CATALOGUE.items()
        if k.startswith("md_") and e.read.keywords["at_most"]
    }
    assert cut == {"md_quickdraw": 1000}


WRONG = {
    "of unknown kind 'Benchmark'; have .*'BiLevel": {"__class__": "Benchmark"},
    "names 1 classes, its splits have 16": {"class_names": {"0": "a"}},
    "its splits have 17": {"classes_per_split": {"TRAIN": 7, "VALID": 5, "TEST": 5}},
    "holds 5 images, dataset_spec.json says 9": {
        "images_per_class": {str(k): 9 for k in range(16)}
    },
    r"lacks 0_\*\.tfrecords": {"file_pattern": "{}_{}.tfrecords"},
    "incomplete or foreign: 'VALID'": {"classes_per_split": {"TRAIN": 16}},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_spec_says_what_is_wrong(tmp_path, message):
    folder, _ = place("md_aircraft", tmp_path)
    edit(folder, **WRONG[message])
    with pytest.raises(ArtifactError, match=message):
        domains.load("md_aircraft", root=tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_spec_that_is_none_is_refused(tmp_path, content):
    folder, _ = place("md_aircraft", tmp_path)
    (folder / "dataset_spec.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match="dataset_spec.json is"):
        domains.load("md_aircraft", root=tmp_path)


def test_record_of_another_class_or_without_an_image_is_named(tmp_path):
    folder, _ = place("md_aircraft", tmp_path)
    write_tfrecords(folder / "2.tfrecords", [example(b"no image", 2)] * 3)
    with pytest.raises(
        ArtifactError, match=r"2\.tfrecords \(image at byte \d+\) is damaged"
    ):
        domains.load("md_aircraft", root=tmp_path)
    (folder / "3.tfrecords").rename(folder / "1.tfrecords")
    with pytest.raises(
        ArtifactError, match=r"1\.tfrecords holds images of the classes .3."
    ):
        domains.load("md_aircraft", root=tmp_path)


@pytest.mark.parametrize("name", [*META_DATASET, *TEST_ONLY[:2]])
def test_missing_data_set_names_the_official_script(tmp_path, name):
    with pytest.raises(DataMissingError) as missing:
        domains.load(name, root=tmp_path)
    official = name.removeprefix("md_")
    assert str(tmp_path / "meta_dataset" / official) in str(missing.value)
    assert f"convert_datasets_to_records --dataset={official}" in str(missing.value)


def test_split_without_classes_is_missing_data(tmp_path):
    folder, _ = place("md_aircraft", tmp_path)
    edit(folder, classes_per_split={"TRAIN": 0, "VALID": 0, "TEST": 16})
    with pytest.raises(DataMissingError, match=r"no train images, only \['test'\]"):
        domains.load("md_aircraft", root=tmp_path, split="train")
    with pytest.raises(ConfigError, match="unknown option 'valid'"):
        domains.load("md_aircraft", root=tmp_path, split="valid")
