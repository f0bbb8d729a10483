"""Data sets of image files are read in their official layouts, CDFSL's as its own code does."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from hyperlab.base import ArtifactError, ConfigError, DataMissingError, silent
from hyperlab.tasks import domains, official, pixels
from hyperlab.tasks.roles import CDFSL
from tests.tasks.miniatures import encoded, noise, place, write_omniglot


def test_omniglot_characters_are_grouped_by_alphabet_background_first(tmp_path):
    write_omniglot(tmp_path)
    part = official.omniglot(tmp_path)
    assert part.groups == ("Greek", "Latin", "Angelic", "Tengwar")
    assert part.class_names[0] == "Greek/character01"


def test_pack_and_zips_of_omniglot_number_the_characters_alike(tmp_path):
    write_omniglot(tmp_path)
    zips = official.omniglot(tmp_path)
    for name in ("images_background.zip", "images_evaluation.zip"):
        (tmp_path / name).unlink()
    alphabetic = sorted(zips.class_names)
    numbers = np.array([alphabetic.index(zips.class_names[k]) for k in zips.labels])
    evaluation = [int(zips.class_names.index(name) >= 2) for name in alphabetic]
    np.savez(
        tmp_path / "omniglot28.npz",
        images=noise(8, 28, 28, 1),
        labels=numbers,
        class_names=np.array(alphabetic),
        class_split=np.array(evaluation),
    )
    found = official.omniglot(tmp_path)
    assert (found.class_names, found.groups) == (zips.class_names, zips.groups)
    assert found.labels.tolist() == zips.labels.tolist()
    assert found.split.tolist() == zips.split.tolist()


def test_drawings_in_both_small_omniglot_sets_count_once(tmp_path):
    for name, classes in (("small1", "AB"), ("small2", "BC")):
        with zipfile.ZipFile(tmp_path / f"images_background_{name}.zip", "w") as archive:
            for c in classes:
                place = f"images_background_{name}/Runes/{c}/0001_01.png"
                archive.writestr(place, encoded(noise(9, 9)))
    part = official.omniglot_small(tmp_path)
    assert part.class_names == ("Runes/A", "Runes/B", "Runes/C")
    assert part.labels.tolist() == [0, 1, 2]


def test_unzipped_omniglot_reads_like_the_zips(tmp_path):
    images, labels, _ = write_omniglot(tmp_path)
    for name in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            archive.extractall(tmp_path)
        (tmp_path / f"{name}.zip").unlink()
    part = official.omniglot(tmp_path)
    assert part.labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(
        pixels.decode_all(part.images, 105, lambda x, **_: x), images
    )


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


def test_empty_class_folder_of_a_data_set_is_named(tmp_path):
    (tmp_path / "eurosat" / "2750" / "unicorn").mkdir(parents=True)
    with pytest.raises(ConfigError, match="unicorn"):
        eurosat(tmp_path)
    write_folder(tmp_path / "eurosat" / "2750")
    with pytest.raises(ConfigError, match="unicorn"):
        eurosat(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_damaged_image_is_named(tmp_path, content):
    write_folder(tmp_path / "eurosat" / "2750")
    (tmp_path / "eurosat" / "2750" / "cat" / "broken.png").write_bytes(content)
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


TRUTH = "ISIC2018_Task3_Training_GroundTruth"


def test_only_the_training_part_of_crop_disease_counts(tmp_path):
    place("crop_disease", tmp_path)
    domain = domains.load("crop_disease", root=tmp_path, size=16)
    assert domain.counts.tolist() == [2] * 5
    assert (domain.images.float().mean((1, 2, 3)) > 50).all()  # the test part is black


def test_chest_images_have_one_finding_of_the_seven(tmp_path):
    place("chest_x", tmp_path)
    domain = domains.load("chest_x", root=tmp_path, size=16)
    assert domain.class_names == official.FINDINGS
    assert "Pneumonia" not in domain.class_names
    assert domain.counts.tolist() == [2] * 7


def test_lesions_are_the_columns_of_the_table(tmp_path):
    place("isic", tmp_path)
    domain = domains.load("isic", root=tmp_path, size=16)
    assert domain.class_names == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


WRONG_TABLES = {
    r"lacks the columns \['VASC'\]": "image,MEL,NV,BCC,AKIEC,BKL,DF\na,1,0,0,0,0,0\n",
    r"a is marked \['MEL', 'NV'\]; want one": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    "a,1.0,1.0,0,0,0,0,0\n",
    r"a is marked \[\]; want one": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,0,0,0,0,0,0,0\n",
    "could not convert string": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,yes,0,0,0,0,0,0\n",
    "incomplete or foreign": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,1.0,0\n",
}


@pytest.mark.parametrize("message", WRONG_TABLES)
def test_wrong_table_of_lesions_says_what_is_wrong(tmp_path, message):
    folder, _ = place("isic", tmp_path)
    (folder / TRUTH / f"{TRUTH}.csv").write_text(WRONG_TABLES[message], encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        domains.load("isic", root=tmp_path)


def test_wrong_table_of_findings_names_its_columns(tmp_path):
    folder, _ = place("chest_x", tmp_path)
    (folder / "Data_Entry_2017.csv").write_text(
        "image;label\n0.png;Mass\n", encoding="utf-8"
    )
    with pytest.raises(ArtifactError, match=r"lacks the columns \['Image Index', 'Finding"):
        domains.load("chest_x", root=tmp_path)


@pytest.mark.parametrize("name", CDFSL)
def test_missing_domain_says_where_it_goes_and_where_it_comes_from(tmp_path, name):
    with pytest.raises(DataMissingError, match=r"cdfsl.* there") as missing:
        domains.load(name, root=tmp_path)
    assert "http" in str(missing.value)
