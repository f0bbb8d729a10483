"""A domain is valid or refused; the named ones are found, described, and complete."""

import os

import numpy as np
import pytest
import torch

from hyperlab.base import ConfigError, DataMissingError, stream
from hyperlab.tasks import domains
from hyperlab.tasks.catalogue import CATALOGUE
from hyperlab.tasks.domains import Domain


def domain(n_classes=4, per_class=3, channels=1, **changes):
    n = n_classes * per_class
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(
        n, channels, 5, 5
    )
    fields = {
        "name": "toy",
        "images": images,
        "labels": torch.arange(n) % n_classes,
        "class_names": tuple("abcdefgh"[:n_classes]),
    }
    return Domain(**fields | changes)


def test_members_are_the_images_of_each_class():
    toy = domain()
    assert toy.n_classes == 4
    assert toy.counts.tolist() == [3, 3, 3, 3]
    assert [m.tolist() for m in toy.members] == [[k, k + 4, k + 8] for k in range(4)]


WRONG = {
    "want uint8": {"images": torch.zeros(12, 1, 5, 5)},
    r"want uint8 N x \(1 or 3\)": {"images": torch.zeros(12, 2, 5, 5, dtype=torch.uint8)},
    "one for each of 11 images": {"images": torch.zeros(11, 1, 5, 5, dtype=torch.uint8)},
    "want int64": {"labels": torch.zeros(12, dtype=torch.int32)},
    "labels run from 0 to 3; it has 2": {"class_names": ("a", "b")},
    "labels run from -1 to 2": {"labels": torch.arange(12) % 4 - 1},
    r"no image of 1 of 5 classes: \['e'\]": {"class_names": tuple("abcde")},
    "2 groups for 4 classes": {"groups": ("x", "y")},
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_domain_says_what_is_wrong(message):
    with pytest.raises(ConfigError, match=message):
        domain(**WRONG[message])


def test_only_keeps_the_classes_in_the_order_given():
    toy = domain(groups=("x", "x", "y", "y"), licence="MIT", source="here")
    part = toy.only([3, 1])
    assert (part.class_names, part.groups) == (("d", "b"), ("y", "x"))
    assert part.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert part.images[:, 0, 0, 0].tolist() == [3, 7, 11, 1, 5, 9]
    assert (part.licence, part.source) == ("MIT", "here")


@pytest.mark.parametrize("classes", [[], [1, 1], [4], [-1]])
def test_only_refuses_classes_that_are_not_there_or_twice(classes):
    with pytest.raises(ConfigError):
        domain().only(classes)


def test_split_gives_disjoint_classes_and_loses_none():
    first, second = domain().split(fraction=0.75, generator=stream(0, "split"))
    assert (first.n_classes, second.n_classes) == (3, 1)
    assert sorted(first.class_names + second.class_names) == ["a", "b", "c", "d"]
    again, _ = domain().split(fraction=0.75, generator=stream(0, "split"))
    assert again.class_names == first.class_names


@pytest.mark.parametrize("fraction", [0.0, 0.01, 1.0, 2.0, -1.0])
def test_split_refuses_an_empty_part(fraction):
    with pytest.raises(ConfigError, match="leaves a part empty"):
        domain().split(fraction=fraction, generator=stream(0))


@pytest.mark.parametrize(
    ("pixel", "numbers"), [([51], [0.2] * 3), ([0, 51, 255], [0, 0.2, 1])]
)
def test_batch_has_three_channels_from_0_to_1_and_leaves_the_store_as_it_was(
    pixel, numbers
):
    images = torch.tensor(pixel, dtype=torch.uint8)[None, :, None, None]
    toy = domain(images=images.repeat(12, 1, 5, 5))
    batch = toy.batch(torch.tensor([0, 3]))
    assert (batch.shape, batch.dtype) == ((2, 3, 5, 5), torch.float32)
    assert batch[1, :, 4, 4].tolist() == pytest.approx(numbers)
    batch.zero_(), toy.batch(torch.arange(12)).zero_()
    assert (toy.images == images).all()


def test_arrays_and_memory_maps_serve_as_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 5, 5), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    kinds = (torch.from_numpy(images), images, np.load(tmp_path / "images.npy", "r"))
    toys = [domain(images=kind) for kind in kinds]
    first, *others = (toy.batch(torch.tensor([7, 0])) for toy in toys)
    assert all(first.equal(other) for other in others)
    mapped = toys[2]
    assert mapped.only([1]).batch(torch.tensor([0])).equal(mapped.batch(torch.tensor([1])))


def test_digits_are_there_without_any_file_in_the_size_asked_for(tmp_path):
    digits = domains.load("digits", root=tmp_path)
    assert digits.images.shape == (1797, 1, 32, 32)
    assert (digits.counts.min(), digits.images.max()) == (174, 255)
    assert domains.available(tmp_path) == ("digits",)
    assert domains.load("digits", root=tmp_path, size=8).images.shape[-2:] == (8, 8)
    with pytest.raises(ConfigError, match="number of pixels"):
        domains.load("digits", root=tmp_path, size=0)


def test_unknown_name_lists_the_names():
    with pytest.raises(ConfigError, match="unknown option 'mist'; have .*'mnist'"):
        domains.load("mist")


MISSING = {  # name -> what the error says beside the folder
    "svhn": "run: python data_scripts/download_data.py svhn",
    "devanagari": "put a pack data.npz there, made from https",
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_data_name_the_folder_and_what_to_do(tmp_path, name):
    with pytest.raises(DataMissingError) as missing:
        domains.load(name, root=tmp_path)
    assert str(tmp_path / name) in str(missing.value) and MISSING[name] in str(
        missing.value
    )


def write_pack(folder, name, **arrays):
    (folder / name).mkdir(parents=True)
    pack = {"images": np.zeros((4, 6, 6, 3), np.uint8), "labels": np.array([0, 1, 1, 0])}
    np.savez(folder / name / "data.npz", **pack | arrays)


def test_root_is_the_argument_then_the_environment_then_data_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("argument", "environment", "data"):
        write_pack(tmp_path / place, "clothing", class_names=np.array([place, "other"]))
    monkeypatch.setenv("HYPERLAB_DATA", str(tmp_path / "environment"))
    first = domains.load("clothing", root=tmp_path / "argument")
    assert first.class_names[0] == "argument"
    assert domains.load("clothing").class_names[0] == "environment"
    monkeypatch.delenv("HYPERLAB_DATA")
    assert domains.load("clothing").class_names[0] == "data"
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert domains.load("clothing").class_names[0] == "data"
    monkeypatch.setenv("HYPERLAB_DATA", "environment")  # as it was said one folder up
    assert domains.load("clothing").class_names[0] == "environment"


def test_a_part_of_a_pack_keeps_the_classes_that_have_images_there(tmp_path):
    names, split = np.array(["plum", "fig"]), np.array([0, 1, 1, 0])
    write_pack(tmp_path, "fruits360", split=split, class_names=names)
    assert domains.load("fruits360", root=tmp_path, split="test").class_names == ("fig",)
    with pytest.raises(ConfigError, match="unknown option 'tests'"):
        domains.load("fruits360", root=tmp_path, split="tests")
    with pytest.raises(DataMissingError, match=r"no val images, only \['train', 'test'\]"):
        domains.load("fruits360", root=tmp_path, split="val")
    write_pack(tmp_path, "clothing", class_split=np.array([1, 0]))  # one a class
    assert domains.load("clothing", root=tmp_path, split="test").class_names == ("0",)


def test_class_without_image_is_named(tmp_path):
    write_pack(tmp_path, "clothing", class_names=np.array(["hat", "coat", "glove"]))
    with pytest.raises(ConfigError, match="glove"):
        domains.load("clothing", root=tmp_path)


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_entry_says_licence_source_and_how_to_get_it(name):
    entry = CATALOGUE[name]
    assert entry.licence
    assert entry.source.startswith("http")
    assert bool(entry.read) == bool(entry.marks or entry.embedded)
    for file in entry.files:
        kind, _, digits = file.digest.partition(":")
        assert len(bytes.fromhex(digits)) == {"md5": 16, "sha256": 32}[kind]
        assert all(url.startswith("http") for url in file.urls)


PACKS = {
    "bccd_cells": (450, 3),
    "cifar10": (12_000, 10),
    "clothing": (1_365, 10),
    "devanagari": (9_200, 46),
    "eurosat": (2_000, 10),
    "fashion_mnist": (70_000, 10),
    "fruits360": (1_950, 65),
    "kmnist": (10_000, 10),
    "mnist": (70_000, 10),
    "notmnist": (10_000, 10),
    "omniglot": (32_460, 1_623),
    "omniglot_small": (4_840, 242),
    "plantvillage_apple": (800, 4),
    "pneumonia_mnist": (1_807, 2),
    "quickdraw3": (3_000, 3),
    "sign_digits": (1_000, 10),
    "usps": (9_298, 10),
}


@pytest.mark.data
@pytest.mark.parametrize("name", PACKS)
def test_real_domain_has_its_published_numbers(name):
    root = os.environ["HYPERLAB_DATA"]
    if name not in domains.available(root):
        pytest.skip(f"no {name} under {root}")
    real = domains.load(name, root=root)
    assert (len(real.images), real.n_classes) == PACKS[name]
    assert real.n_classes == CATALOGUE[name].n_classes
    assert real.images.float().std() > 10


@pytest.mark.data
def test_small_omniglot_shows_the_same_drawings_as_the_pack():
    root = os.environ["HYPERLAB_DATA"]
    if not {"omniglot", "omniglot_small"} <= set(domains.available(root)):
        pytest.skip(f"no small Omniglot under {root}")
    small, whole = (
        domains.load(n, root=root, size=28) for n in ("omniglot_small", "omniglot")
    )
    number = whole.class_names.index(small.class_names[0])
    ink = [d.batch(d.members[k])[:, 0].mean(0) for d, k in ((small, 0), (whole, number))]
    assert torch.corrcoef(torch.stack(ink).flatten(1))[0, 1] > 0.9
