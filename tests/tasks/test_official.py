"""Data sets of image files are read in their official layouts, CDFSL's as its own code does."""

import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from hyperlab.base import ArtifactError, ConfigError, DataMissingError, silent
from hyperlab.tasks import domains, official, pixels
from hyperlab.tasks.roles import CDFSL
from tests.tasks.miniatures import encoded, noise, place, write_omniglot, write_text

SETS = ("images_background", "images_evaluation")


def test_omniglot_is_grouped_by_alphabet_background_first_from_zips_folders_or_a_pack(
    tmp_path,
):
    images, _, _ = write_omniglot(tmp_path)
    zips = official.omniglot(tmp_path)
    assert zips.groups == ("Greek", "Latin", "Angelic", "Tengwar")
    assert zips.class_names[0] == "Greek/character01"
    for name in SETS:
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            archive.extractall(tmp_path)
        (tmp_path / f"{name}.zip").unlink()
    unzipped = official.omniglot(tmp_path)
    found = pixels.decode_all(unzipped.images, 105, silent)
    np.testing.assert_array_equal(found, images)
    for name in SETS:
        shutil.rmtree(tmp_path / name)
    names = sorted(zips.class_names)
    np.savez(
        tmp_path / "omniglot28.npz",
        images=noise(8, 28, 28, 1),
        labels=np.array([names.index(zips.class_names[k]) for k in zips.labels]),
        class_names=np.array(names),
        class_split=np.array([int(zips.class_names.index(name) >= 2) for name in names]),
    )
    for part in (unzipped, official.omniglot(tmp_path)):
        assert (part.class_names, part.groups) == (zips.class_names, zips.groups)
        assert part.labels.tolist() == zips.labels.tolist()
        assert part.split.tolist() == zips.split.tolist()


def test_drawings_in_both_small_omniglot_sets_count_once(tmp_path):
    for name, classes in (("small1", "AB"), ("small2", "BC")):
        with zipfile.ZipFile(tmp_path / f"images_background_{name}.zip", "w") as archive:
            for c in classes:
                place = f"images_background_{name}/Runes/{c}/0001_01.png"
                archive.writestr(place, encoded(noise(9, 9)))
    part = official.omniglot_small(tmp_path)
    assert part.class_names == ("Runes/A", "Runes/B", "Runes/C")
    assert part.labels.tolist() == [0, 1, 2]


def write_folder(folder, classes=("cat", "dog"), n=3, size=(40, 30)):
    for k, name in enumerate(classes):
        (folder / name / "deeper").mkdir(parents=True)
        for i in range(n):
            image = Image.new("RGB", size, (80 * k, 10 * i, 0))
            image.save(folder / name / ("deeper" if i else "") / f"{i}.png")
        (folder / name / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / ".hidden").mkdir()


def eurosat(root, **options):
    return domains.load("eurosat", root=root, **options)


def test_folder_of_class_folders_is_a_domain_of_square_images(tmp_path):
    write_folder(tmp_path / "eurosat" / "2750")
    domain = eurosat(tmp_path, size=16)
    assert (domain.name, domain.class_names) == ("eurosat", ("cat", "dog"))
    assert domain.counts.tolist() == [3, 3]
    assert domain.images.shape == (6, 3, 16, 16)
    assert domain.images[5, :, 8, 8].tolist() == [80, 20, 0]


def test_grey_images_keep_one_channel_unless_one_is_coloured(tmp_path):
    grey, red = tmp_path / "grey.png", tmp_path / "red.png"
    Image.new("L", (9, 9), 7).save(grey)
    assert pixels.decode_all([grey], 32, silent).shape[1] == 1
    Image.new("RGB", (9, 9), (1, 2, 3)).save(red)
    mixed = pixels.decode_all([grey, red], 32, silent)
    assert mixed[:, :, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3]]


def test_empty_class_folder_and_damaged_image_of_a_data_set_are_named(tmp_path):
    home = tmp_path / "eurosat" / "2750"
    (home / "unicorn").mkdir(parents=True)
    with pytest.raises(ConfigError, match="unicorn"):
        eurosat(tmp_path)
    write_folder(home)
    with pytest.raises(ConfigError, match="unicorn"):
        eurosat(tmp_path)
    for content in (b"", b"no image", b"\x89PNG\r\n\x1a\n"):
        (home / "cat" / "broken.png").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"broken\.png is damaged"):
            eurosat(tmp_path)


def test_more_images_than_fit_are_decoded_on_demand_and_are_the_same(tmp_path, monkeypatch):
    write_folder(tmp_path / "eurosat" / "2750")
    whole = eurosat(tmp_path)
    monkeypatch.setattr(pixels, "LIMIT_BYTES", 1000)
    lazy = eurosat(tmp_path)
    assert isinstance(lazy.images, pixels.OnDemand)
    assert tuple(lazy.images.shape) == (len(whole.labels), 3, 32, 32)
    every = torch.arange(len(whole.labels))
    torch.testing.assert_close(lazy.batch(every), whole.batch(every))
    part, same = lazy.only([1]), whole.only([1])
    assert isinstance(part.images, pixels.OnDemand)
    rows = torch.arange(len(same.labels)).flip(0)
    torch.testing.assert_close(part.batch(rows), same.batch(rows))


CLASSES = {
    "chest_x": "Atelectasis Cardiomegaly Effusion Infiltration Mass Nodule Pneumothorax",
    "isic": "MEL NV BCC AKIEC BKL DF VASC",
    "crop_disease": "Leaf___0 Leaf___1 Leaf___2 Leaf___3 Leaf___4",
}


@pytest.mark.parametrize("name", CLASSES)
def test_cdfsl_has_its_classes_with_two_images_each(name, tmp_path):
    place(name, tmp_path)
    domain = domains.load(name, root=tmp_path, size=16)
    assert " ".join(domain.class_names) == CLASSES[name]
    assert set(domain.counts.tolist()) == {2}
    assert (domain.images.float().mean((1, 2, 3)) > 50).all()  # a test part would be black


TRUTH = "ISIC2018_Task3_Training_GroundTruth"
TABLES = {"isic": f"{TRUTH}/{TRUTH}.csv", "chest_x": "Data_Entry_2017.csv"}
LESIONS = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
WRONG_TABLES = [
    ("isic", ("image,MEL,NV,BCC,AKIEC,BKL,DF", "a,1,0,0,0,0,0"), r"lacks .* \['VASC'\]"),
    ("isic", (LESIONS, "a,1.0,1.0,0,0,0,0,0"), r"a is marked \['MEL', 'NV'\]; want one"),
    ("isic", (LESIONS, "a,0,0,0,0,0,0,0"), r"a is marked \[\]; want one"),
    ("isic", (LESIONS, "a,yes,0,0,0,0,0,0"), "could not convert string"),
    ("isic", (LESIONS, "a,1.0,0"), "incomplete or foreign"),
    ("chest_x", ("image;label", "0.png;Mass"), r"lacks the columns \['Image Index', 'Find"),
]


@pytest.mark.parametrize(("name", "lines", "message"), WRONG_TABLES)
def test_wrong_table_says_what_is_wrong(tmp_path, name, lines, message):
    folder, _ = place(name, tmp_path)
    write_text(folder / TABLES[name], *lines)
    with pytest.raises(ArtifactError, match=message):
        domains.load(name, root=tmp_path)


@pytest.mark.parametrize("name", CDFSL)
def test_missing_domain_says_where_it_goes_and_where_it_comes_from(tmp_path, name):
    with pytest.raises(DataMissingError, match=r"cdfsl.* there") as missing:
        domains.load(name, root=tmp_path)
    assert "http" in str(missing.value)
