"""Official files are read pixel by pixel; damaged and foreign ones are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hyperlab.base import ArtifactError, ConfigError
from hyperlab.tasks import domains, formats, pixels
from hyperlab.tasks.catalogue import CATALOGUE
from tests.tasks.miniatures import OFFICIAL, Command, noise, place, write_idx, write_mnist


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


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("cut", [0, 3, 10, 30, -1])
def test_truncated_idx_file_is_refused(tmp_path, suffix, cut):
    path = tmp_path / f"images{suffix}"
    write_idx(path, noise(5, 28, 28))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ArtifactError, match="images"):
        formats.idx(path)


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
    "gtsrb": "GTSRB_Final_Test_Images/GTSRB/Final_Test/Images/00001.ppm",
}


@pytest.mark.parametrize("name", LACKING)
def test_incomplete_official_set_is_refused(name, tmp_path):
    folder, _ = place(name, tmp_path)
    (folder / LACKING[name]).unlink()
    with pytest.raises(ArtifactError, match=folder.name):
        domains.load(name, root=tmp_path)


def write_pack(path, **changes):
    arrays = {"images": noise(6, 8, 8, 3), "labels": np.arange(6) % 3}
    arrays |= {"class_names": np.array(["a", "b", "c"])} | changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_pack_without_names_numbers_its_classes(tmp_path):
    part = formats.pack(write_pack(tmp_path / "p.npz", class_names=None))
    assert part.class_names == ("0", "1", "2")


@pytest.mark.parametrize("kind", [np.float32, np.float64, bool])
def test_floating_pixels_count_from_0_to_1(tmp_path, kind):
    images = np.zeros((6, 8, 8), kind)
    images[0] = 1
    part = formats.pack(write_pack(tmp_path / "p.npz", images=images))
    assert part.images.dtype == torch.uint8
    assert part.images[:2, 0, 0, 0].tolist() == [255, 0]


def test_nan_images_are_counted_in_the_error(tmp_path):
    images = np.zeros((6, 8, 8, 3), np.float32)
    images[1:3, 4] = np.nan
    with pytest.raises(ConfigError, match="2 of 6 images hold NaN"):
        formats.pack(write_pack(tmp_path / "p.npz", images=images))


WRONG_PACKS = {
    "lacks": {"labels": None},
    "range 0 to 1": {"images": np.full((6, 8, 8), 200.0)},
    "range 0 to 255": {"images": np.full((6, 8, 8), 300)},
    "want N x H x W": {"images": np.zeros((6, 3, 8, 8), np.uint8)},
    "want N integers": {"labels": np.zeros(6)},
    "labels run -1 to": {"labels": np.arange(6) - 1},
    "labels run 0 to 5 for 3": {"labels": np.arange(6)},
}


@pytest.mark.parametrize("message", WRONG_PACKS)
def test_wrong_pack_says_what_is_wrong(tmp_path, message):
    path = write_pack(tmp_path / "p.npz", **WRONG_PACKS[message])
    with pytest.raises(ConfigError, match=message):
        formats.pack(path)


def test_pack_with_pickled_objects_is_refused_and_nothing_of_it_runs(tmp_path):
    flag = tmp_path / "it ran"
    write_pack(tmp_path / "p.npz", images=np.array([Command(flag)] * 6, dtype=object))
    with pytest.raises(ArtifactError, match="pickle"):
        formats.pack(tmp_path / "p.npz")
    assert not flag.exists()


@pytest.mark.parametrize("content", [b"", b"no archive", "cut"])
def test_damaged_pack_is_refused(tmp_path, content):
    path = write_pack(tmp_path / "p.npz")
    path.write_bytes(path.read_bytes()[:-200] if content == "cut" else content)
    with pytest.raises(ArtifactError, match="damaged"):
        formats.pack(path)


def test_fit_keeps_the_middle_square():
    image = torch.zeros(1, 1, 20, 40, dtype=torch.uint8)
    image[..., 10:30] = 200
    small = pixels.fit(image, 5)
    assert small.shape == (1, 1, 5, 5)
    assert (small == 200).all()


def test_fit_averages_stripes_that_are_too_fine():
    stripes = torch.tensor([0, 200], dtype=torch.uint8).repeat(32).expand(1, 1, 64, 64)
    inner = pixels.fit(stripes, 8)[..., 1:-1]
    assert (inner.float() - 100).abs().max() <= 5
