"""Official files are read pixel by pixel; damaged and foreign ones are refused."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperlab.base import ArtifactError, ConfigError
from hyperlab.tasks import domains, formats, meta_dataset, pixels
from hyperlab.tasks.catalogue import CATALOGUE
from tests.tasks.miniatures import (
    OFFICIAL,
    Command,
    example,
    noise,
    place,
    write_cifar100,
    write_idx,
    write_mnist,
    write_pickle,
    write_tfrecords,
)


@pytest.fixture(params=OFFICIAL)
def official(request, tmp_path):
    _, (images, labels, train) = place(request.param, tmp_path)
    return request.param, images, labels, train


def test_official_files_give_their_pixels_and_labels(official, tmp_path):
    name, images, labels, _ = official
    domain = domains.load(name, root=tmp_path, size=images.shape[-1])
    np.testing.assert_array_equal(domain.images, images)
    np.testing.assert_array_equal(domain.labels, labels)


def test_official_training_part_is_what_the_files_call_train(official, tmp_path):
    name, images, labels, train = official
    if train is None:
        with pytest.raises(ConfigError, match="no train and test part"):
            domains.load(name, root=tmp_path, split="train")
        return
    rows = train if isinstance(train, list) else list(range(train))
    domain = domains.load(name, root=tmp_path, size=images.shape[-1], split="train")
    np.testing.assert_array_equal(domain.images, images[rows])
    assert domain.n_classes == len(set(labels[rows]))


def test_official_licence_and_source_come_with_the_images(official, tmp_path):
    domain = domains.load(official[0], root=tmp_path)
    entry = CATALOGUE[official[0]]
    assert (domain.licence, domain.source) == (entry.licence, entry.source)


def write_pack(path, **changes):
    arrays = {"images": noise(6, 8, 8, 3), "labels": np.arange(6) % 3}
    arrays |= {"class_names": np.array(["a", "b", "c"])} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


BATCH = {b"data": noise(2, 3072), b"labels": [0, 1]}
RECORDS = [example(b"x" * 80, 0)] * 2
CUT = [  # writer, reader, file name, lengths of what is left; a negative one counts what is lost
    (partial(write_idx, array=noise(5, 28, 28)), formats.idx, "images", (3, 10, 30, -1)),
    (partial(write_idx, array=noise(5, 28, 28)), formats.idx, "images.gz", (3, 10, 30, -1)),
    (partial(write_pickle, items=BATCH), formats.unpickle, "batch", (1, 10, 100, -1)),
    (write_pack, formats.pack, "pack.npz", (-200,)),
    (
        partial(write_tfrecords, examples=RECORDS),
        meta_dataset.labelled,
        "0.tfrecords",
        (-1, -4, -5, -50, -118, -128),
    ),
]


@pytest.mark.parametrize(("write", "read", "name", "lengths"), CUT)
def test_cut_or_foreign_file_is_refused_by_its_name(tmp_path, write, read, name, lengths):
    write(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    empty = [] if read is meta_dataset.labelled else [b""]  # a class without an image
    for content in [whole[:length] for length in lengths] + [b"no archive", *empty]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=rf"{name} (is|announces)"):
            read(tmp_path / name)


def test_idx_file_that_is_too_long_is_refused(tmp_path):
    write_idx(tmp_path / "images", noise(5, 28, 28))
    with (tmp_path / "images").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtifactError, match="announces"):
        formats.idx(tmp_path / "images")


def test_idx_files_with_other_numbers_of_images_and_labels_are_refused(tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(9, np.uint8))
    with pytest.raises(ArtifactError, match="10 images and 9 labels"):
        formats.mnist(tmp_path, class_names="0123456789")


DAMAGED = {
    "svhn": ("train_32x32.mat", 500),
    "stl10": ("stl10_binary/train_X.bin", 5000),
    "usps": ("usps.bz2", 300),
    "blood_mnist": ("bloodmnist.npz", 900),
    "omniglot": ("images_background.zip", 300),
    "md_aircraft": ("3.tfrecords", 900),
    "isic": ("ISIC2018_Task3_Training_Input/ISIC_0000003.jpg", 300),
    "chest_x": ("images/00000003_000.png", 100),
    "gtsrb": ("GTSRB-Training_fixed/GTSRB/Training/00000/00000.ppm", 500),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_cut_official_file_is_refused_by_its_name(name, tmp_path):
    folder, _ = place(name, tmp_path)
    file, length = DAMAGED[name]
    (folder / file).write_bytes((folder / file).read_bytes()[:length])
    with pytest.raises(ArtifactError, match=Path(file).name):
        domains.load(name, root=tmp_path)


LACKING = {
    "cifar10": "cifar-10-batches-py/data_batch_3",
    "stl10": "stl10_binary/class_names.txt",
    "mnist": "train-labels-idx1-ubyte.gz",
    "dtd": "dtd-r1.0.1/dtd/labels/test1.txt",
    "md_omniglot": "7.tfrecords",
    "isic": "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv",
    "chest_x": "images/00000001_000.png",
    "gtsrb": "GTSRB_Final_Test_Images/GTSRB/Final_Test/Images/00007.ppm",
}


@pytest.mark.parametrize("name", LACKING)
def test_incomplete_official_set_is_refused(name, tmp_path):
    folder, _ = place(name, tmp_path)
    (folder / LACKING[name]).unlink()
    with pytest.raises(ArtifactError, match=folder.name):
        domains.load(name, root=tmp_path)


@pytest.mark.parametrize("kind", [np.float32, np.float64, bool])
def test_floating_pixels_count_from_0_to_1_and_classes_without_names_are_numbers(
    tmp_path, kind
):
    images = np.zeros((6, 8, 8), kind)
    images[0] = 1
    part = formats.pack(write_pack(tmp_path / "p.npz", images=images, class_names=None))
    assert part.class_names == ("0", "1", "2")
    assert part.images.dtype == torch.uint8
    assert part.images[:2, 0, 0, 0].tolist() == [255, 0]


BROKEN = np.where(np.arange(6) // 2 == 1, np.nan, 0)[:, None, None] * np.ones((8, 8))
WRONG_PACKS = [
    ({"images": BROKEN}, "2 of 6 images hold NaN"),
    ({"labels": None}, "lacks"),
    ({"images": np.full((6, 8, 8), 200.0)}, "leave the range 0 to 1; save them as uint8"),
    ({"images": np.full((6, 8, 8), 300)}, "leave the range 0 to 255"),
    ({"images": np.full((6, 8, 8), -1)}, "leave the range 0 to 255"),
    ({"images": np.zeros((6, 3, 8, 8), np.uint8)}, "want N x H x W"),
    ({"images": np.zeros((6, 8, 8, 4), np.uint8)}, "want N x H x W"),
    ({"images": np.zeros((6, 0, 8), np.uint8)}, "want N x H x W"),
    ({"labels": np.zeros(6)}, "want N integers"),
    ({"labels": np.array(list("aabbcc"))}, "want N integers"),
    ({"labels": np.arange(6) - 1}, "labels run -1 to"),
    (
        {"labels": np.arange(6)},
        "labels run 0 to 5 for 3 classes; they count class_names from 0",
    ),
    ({"labels": np.arange(6) % 3 + 1}, "labels run 1 to 3 for 3 classes; they count"),
    ({"class_names": np.array("abc")}, "want one a class"),
    ({"class_split": np.array([0, 1])}, "no number for each of the labels"),
    ({"split": np.array(["train"] * 6)}, "holds other than the numbers of"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_PACKS)
def test_wrong_pack_says_what_is_wrong(tmp_path, changes, message):
    path = write_pack(tmp_path / "p.npz", **changes)
    with pytest.raises(ConfigError, match=message):
        formats.pack(path)


def test_pack_with_pickled_objects_is_refused_and_nothing_of_it_runs(tmp_path):
    flag = tmp_path / "it ran"
    write_pack(tmp_path / "p.npz", images=np.array([Command(flag)] * 6, dtype=object))
    with pytest.raises(ArtifactError, match="pickle"):
        formats.pack(tmp_path / "p.npz")
    assert not flag.exists()


def test_fit_keeps_the_middle_square_and_averages_stripes_that_are_too_fine():
    image = torch.zeros(1, 1, 20, 40, dtype=torch.uint8)
    image[..., 10:30] = 200
    small = pixels.fit(image, 5)
    assert small.shape == (1, 1, 5, 5) and (small == 200).all()
    stripes = torch.tensor([0, 200], dtype=torch.uint8).repeat(32).expand(1, 1, 64, 64)
    inner = pixels.fit(stripes, 8)[..., 1:-1]
    assert (inner.float() - 100).abs().max() <= 5


def test_fine_classes_of_cifar100_are_grouped_by_superclass(tmp_path):
    write_cifar100(tmp_path)
    part = formats.cifar100(tmp_path)
    assert part.groups == tuple(f"coarse{k // 5}" for k in range(100))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path, protocol):
    flag = tmp_path / "it ran"
    named = [
        eval,
        np.load,
        np.random.default_rng,
        Path,
        getattr,
    ]  # nothing but arrays may be
    for content in (Command(flag), *named):
        (tmp_path / "batch").write_bytes(pickle.dumps({"data": content}, protocol))
        with pytest.raises(ArtifactError, match="not data"):
            formats.unpickle(tmp_path / "batch")
    assert not flag.exists()


def test_pickled_arrays_of_python_3_are_read_too(tmp_path):
    array = noise(2, 3072)
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": array, "labels": [0, 1]}, 4))
    np.testing.assert_array_equal(formats.unpickle(tmp_path / "batch")["data"], array)
