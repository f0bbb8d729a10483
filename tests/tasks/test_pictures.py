"""Image files become square images with the classes of their folders."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from hyperlab.base import ArtifactError, ConfigError, DataMissingError
from hyperlab.tasks import domains, pictures
from tests.tasks.miniatures import pixels, png, write_omniglot


def test_omniglot_characters_are_grouped_by_alphabet_background_first(tmp_path):
    write_omniglot(tmp_path)
    part = pictures.omniglot(tmp_path)
    assert part.groups == ("Greek", "Latin", "Angelic", "Tengwar")
    assert part.class_names[0] == "Greek/character01"


def test_pack_and_zips_of_omniglot_number_the_characters_alike(tmp_path):
    write_omniglot(tmp_path)
    zips = pictures.omniglot(tmp_path)
    for name in ("images_background.zip", "images_evaluation.zip"):
        (tmp_path / name).unlink()
    alphabetic = sorted(zips.class_names)
    numbers = np.array([alphabetic.index(zips.class_names[k]) for k in zips.labels])
    evaluation = [int(zips.class_names.index(name) >= 2) for name in alphabetic]
    np.savez(
        tmp_path / "omniglot28.npz",
        images=pixels(8, 28, 28, 1),
        labels=numbers,
        class_names=np.array(alphabetic),
        class_split=np.array(evaluation),
    )
    found = pictures.omniglot(tmp_path)
    assert (found.class_names, found.groups) == (zips.class_names, zips.groups)
    assert found.labels.tolist() == zips.labels.tolist()
    assert found.split.tolist() == zips.split.tolist()


def test_drawings_in_both_small_omniglot_sets_count_once(tmp_path):
    for name, classes in (("small1", "AB"), ("small2", "BC")):
        with zipfile.ZipFile(tmp_path / f"images_background_{name}.zip", "w") as archive:
            for c in classes:
                place = f"images_background_{name}/Runes/{c}/0001_01.png"
                archive.writestr(place, png(pixels(9, 9)))
    part = pictures.omniglot_small(tmp_path)
    assert part.class_names == ("Runes/A", "Runes/B", "Runes/C")
    assert part.labels.tolist() == [0, 1, 2]


def test_unzipped_omniglot_reads_like_the_zips(tmp_path):
    images, labels, _ = write_omniglot(tmp_path)
    for name in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            archive.extractall(tmp_path)
        (tmp_path / f"{name}.zip").unlink()
    part = pictures.omniglot(tmp_path)
    assert part.labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(
        pictures.decode(part.images, 105, lambda x, **_: x), images
    )


def write_folder(folder, classes=("cat", "dog"), n=3, size=(40, 30)):
    for k, name in enumerate(classes):
        (folder / name / "deeper").mkdir(parents=True)
        for i in range(n):
            image = Image.new("RGB", size, (80 * k, 10 * i, 0))
            image.save(folder / name / ("deeper" if i else "") / f"{i}.png")
        (folder / name / "notes.txt").write_text("not an image")
    (folder / ".hidden").mkdir()


def test_folder_of_class_folders_is_a_domain_of_square_images(tmp_path):
    write_folder(tmp_path / "pets")
    domain = domains.from_folder(tmp_path / "pets", size=16)
    assert (domain.name, domain.class_names) == ("pets", ("cat", "dog"))
    assert domain.counts.tolist() == [3, 3]
    assert domain.images.shape == (6, 3, 16, 16)
    assert domain.images[5, :, 8, 8].tolist() == [80, 20, 0]


def test_grey_images_keep_one_channel_unless_one_is_coloured(tmp_path):
    write_folder(tmp_path, classes=("a",), n=0)
    Image.new("L", (9, 9), 7).save(tmp_path / "a" / "grey.png")
    assert domains.from_folder(tmp_path).images.shape[1] == 1
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "a" / "red.png")
    mixed = domains.from_folder(tmp_path).images
    assert mixed[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_train_and_test_folders_are_the_split(tmp_path):
    write_folder(tmp_path / "train", n=3)
    write_folder(tmp_path / "val", classes=("dog",), n=2)
    whole = domains.from_folder(tmp_path)
    assert (whole.class_names, whole.counts.tolist()) == (("cat", "dog"), [3, 5])
    assert domains.from_folder(tmp_path, split="val").class_names == ("dog",)
    with pytest.raises(DataMissingError, match=r"no test images, only \['train', 'val'\]"):
        domains.from_folder(tmp_path, split="test")


def test_camera_orientation_is_applied(tmp_path):
    (tmp_path / "a").mkdir()
    image = Image.fromarray(np.uint8([[0, 0], [255, 255]])).resize((16, 16))
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    image.save(tmp_path / "a" / "photo.png", exif=exif)
    turned = domains.from_folder(tmp_path, size=16).images[0, 0]
    assert turned[0, 0] == 255
    assert turned[-1, 0] == 0


def test_empty_class_folder_is_named(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "unicorn").mkdir()
    with pytest.raises(ConfigError, match="unicorn"):
        domains.from_folder(tmp_path)


def test_folder_of_empty_classes_names_them(tmp_path):
    (tmp_path / "unicorn").mkdir()
    with pytest.raises(ConfigError, match="unicorn"):
        domains.from_folder(tmp_path)


def test_folder_without_classes_says_what_is_wanted(tmp_path):
    with pytest.raises(ConfigError, match="one folder of images for each class"):
        domains.from_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_damaged_image_is_named(tmp_path, content):
    write_folder(tmp_path)
    (tmp_path / "cat" / "broken.png").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"broken\.png is damaged"):
        domains.from_folder(tmp_path)


def test_16_bit_image_is_refused_instead_of_clipped(tmp_path):
    write_folder(tmp_path)
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "cat" / "deep.png")
    with pytest.raises(ArtifactError, match="save it as 8-bit"):
        domains.from_folder(tmp_path)


def test_more_images_than_fit_are_decoded_on_demand_and_are_the_same(tmp_path, monkeypatch):
    write_folder(tmp_path)
    whole = domains.from_folder(tmp_path)
    monkeypatch.setattr(pictures, "LIMIT_BYTES", 1000)
    lazy = domains.from_folder(tmp_path)
    assert isinstance(lazy.images, pictures.OnDemand)
    assert tuple(lazy.images.shape) == (len(whole.labels), 3, 32, 32)
    every = torch.arange(len(whole.labels))
    torch.testing.assert_close(lazy.batch(every), whole.batch(every))
    part, same = lazy.only([1]), whole.only([1])
    assert isinstance(part.images, pictures.OnDemand)
    rows = torch.arange(len(same.labels)).flip(0)
    torch.testing.assert_close(part.batch(rows), same.batch(rows))
