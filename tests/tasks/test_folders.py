"""Every file of a folder is read as an image of one class, or listed with a reason."""

import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hyperlab.base import ConfigError, DataMissingError, silent, stream
from hyperlab.tasks import folders, own, pixels, roles
from tests.tasks.miniatures import noise, write_folder, write_images

TURNED = 6  # the EXIF orientation of a camera held upright: turn clockwise to see
NOT_UTF_8 = os.fsdecode(b"caf\xe9")


def read(path):
    found = own.read(path, size=12)
    assert sum(found.account.values()) == n_entries(path)
    assert found.account["read"] == len(found.domain.labels)
    return found


def n_entries(path):
    """Files there are, by the system's own count."""
    return sum(len(files) for _, _, files in os.walk(path, followlinks=True))


@pytest.mark.parametrize("place", ["cat", "."])
@pytest.mark.parametrize(
    "name", [".thumbnails", "@eaDir", "__MACOSX", "Thumbs", ".ipynb_checkpoints"]
)
def test_what_programs_put_between_the_images_is_left_out_and_listed(tmp_path, name, place):
    clean = read(write_folder(tmp_path)).domain
    write_images(tmp_path / place / name / "deeper", n=2)
    found = read(tmp_path)
    assert found.domain.class_names == clean.class_names
    assert torch.equal(found.domain.images, clean.images)
    assert [file for file, _ in found.skipped] == [
        str(Path(place, name, "deeper", f"{i}.png")) for i in range(2)
    ]
    assert all(what.startswith(f"in {name}, ") for _, what in found.skipped)


def test_no_query_of_a_folder_with_thumbnails_and_copies_lies_in_its_support(tmp_path):
    for k in range(3):
        folder = write_images(tmp_path / f"class{k}", n=6, first=10 * k)
        write_images(folder / ".thumbnails", n=6, first=10 * k)
        for i in range(6):
            Image.open(folder / f"{i}.png").save(folder / f"copy of {i}.bmp")
    domain = read(tmp_path).domain
    for i in range(5):
        episode = own.draw(domain, generator=stream(i))
        rows = torch.cat([episode.support.images, episode.query.images]).flatten(1)
        assert len(rows.unique(dim=0)) == len(rows) == 18


def test_copies_count_once_and_those_of_two_classes_not_at_all(tmp_path):
    write_folder(tmp_path)
    for name, place in (("0.png", "cat/again.png"), ("1.png", "dog/wrong.png")):
        (tmp_path / place).write_bytes((tmp_path / "cat" / name).read_bytes())
    grey = Image.fromarray(noise(12, 12))
    grey.save(tmp_path / "dog" / "grey.png")
    grey.convert("RGB").save(tmp_path / "dog" / "rgb.png")
    found = read(tmp_path)
    assert found.domain.counts.tolist() == [3, 5]
    said = dict(found.skipped)
    assert said["cat/again.png"] == "a copy of cat/0.png"
    assert said["dog/rgb.png"] == "a copy of dog/grey.png"
    assert "a copy of dog/wrong.png of class 'dog'; nobody can say" in said["cat/1.png"]
    assert "a copy of cat/1.png of class 'cat'; nobody can say" in said["dog/wrong.png"]
    assert len(said) == 4


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "VAL_set"), ("train",)])
@pytest.mark.parametrize("third", [None, "docs", "more"])
def test_train_and_test_are_parts_whatever_lies_beside_them(tmp_path, parts, third):
    for k, name in enumerate(parts):
        write_images(tmp_path / name / "cat", first=10 * k)
        write_images(tmp_path / name / "dog", first=100 + 10 * k)
    if third:
        (tmp_path / third).mkdir()
        (tmp_path / third / "read me.txt").write_bytes(b"")
    if third == "more" and len(parts) > 1:
        write_images(tmp_path / "more", n=1, first=50)
    found = read(tmp_path)
    assert found.domain.class_names == ("cat", "dog")
    assert found.domain.counts.tolist() == [4 * len(parts)] * 2
    assert {what for _, what in found.skipped} <= {
        "lies beside the folders of train and test"
    }
    assert own.read(tmp_path, split="train").domain.counts.tolist() == [4, 4]


def test_the_parts_of_a_folder_have_their_own_classes(tmp_path):
    (
        write_images(tmp_path / "train" / "cat"),
        write_images(tmp_path / "train" / "dog", first=10),
    )
    write_images(tmp_path / "val" / "dog", first=20, n=2)
    part = folders.scan(tmp_path).part
    assert (part.class_names, part.labels.bincount().tolist()) == (("cat", "dog"), [4, 6])
    assert part.only("val").class_names == ("dog",)
    found = own.read(tmp_path, split="train")
    assert found.account == {"read": 8, "left out": 0, "too small": 0, "other parts": 2}
    with pytest.raises(DataMissingError, match=r"no test images, only \['train', 'val'\]"):
        own.read(tmp_path, split="test")


def test_a_class_may_be_called_train_and_what_could_be_either_is_asked_about(tmp_path):
    write_images(write_folder(tmp_path) / "train")
    assert read(tmp_path).domain.class_names == ("cat", "dog", "train")
    with pytest.raises(ConfigError, match="has no train and test part"):
        own.read(tmp_path, split="test")
    for file in (tmp_path / "train").iterdir():
        (tmp_path / "train" / "steam").mkdir(exist_ok=True)
        file.rename(tmp_path / "train" / "steam" / file.name)
    with pytest.raises(
        ConfigError, match=r"is 'train', .* a class beside \['cat', 'dog'\]"
    ):
        own.read(tmp_path)


KINDS = {
    "RGB": lambda: Image.fromarray(noise(12, 12, 3)),
    "RGBA": lambda: Image.fromarray(noise(12, 12, 4)),
    "LA": lambda: Image.fromarray(noise(12, 12, 2), "LA"),
    "P": lambda: Image.fromarray(noise(12, 12, 3)).quantize(7),
    "16 bits": lambda: Image.fromarray(257 * noise(12, 12).astype(np.uint16)),
    "1": lambda: Image.fromarray(noise(12, 12) > 99),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_orientation_of_a_camera_is_applied_to_every_kind_of_pixels(tmp_path, kind):
    (exif := Image.Exif())[0x0112] = TURNED
    paths = [tmp_path / "lying.png", tmp_path / "turned.png"]
    KINDS[kind]().save(paths[0])
    KINDS[kind]().save(paths[1], exif=exif)
    both = pixels.decode_all(paths, 12, silent)
    assert torch.equal(both[0].rot90(-1, (1, 2)), both[1])
    assert both[0].unique().numel() > 1


MASK = noise(12, 12) % 2
MASKS = {
    "L": lambda: Image.fromarray(MASK),
    "RGB": lambda: Image.fromarray(np.repeat(MASK[..., None], 3, 2)),
    "16 bits": lambda: Image.fromarray(MASK.astype(np.uint16)),
    "float": lambda: Image.fromarray(MASK.astype(np.float32)),
    "1": lambda: Image.fromarray(MASK > 0),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_0_and_1_are_black_and_white(tmp_path, kind):
    MASKS[kind]().save(write_folder(tmp_path) / "cat" / "mask.tif")
    found = read(tmp_path)
    expected = torch.from_numpy(255 * MASK).expand(3, -1, -1)
    assert torch.equal(found.domain.images[4], expected)
    assert kind == "1" or "cat/mask.tif" in dict(found.changed)


@pytest.mark.parametrize(("others", "white"), [(4095, 4095), (60_000, 65_535), (200, 255)])
def test_16_bits_count_from_black_to_what_their_camera_calls_white(tmp_path, others, white):
    write_folder(tmp_path)
    for name, value in (("a", 180), ("b", others)):
        image = np.full((12, 12), value, np.uint16)
        image[::2] = 0
        Image.fromarray(image).save(tmp_path / "cat" / f"{name}.png")
    found = read(tmp_path)
    assert found.domain.images[4, 0, 1, 1] == round(180 * 255 / white)
    assert found.domain.images[5, 0, 1, 1] == round(others * 255 / white)


def test_both_readers_of_files_lay_transparent_parts_on_white(tmp_path):
    clear = Image.new("RGBA", (12, 12), (200, 0, 0, 51))
    clear.save(write_folder(tmp_path) / "cat" / "clear.png")
    of_data_set = pixels.decode_all([tmp_path / "cat" / "clear.png"], 12, silent)[0]
    assert of_data_set[:, 0, 0].tolist() == [244, 204, 204]
    assert torch.equal(read(tmp_path).domain.images[4], of_data_set)


def test_linked_folders_are_read_once_and_circles_end(tmp_path):
    elsewhere, path = write_images(tmp_path / "elsewhere", first=300), tmp_path / "mine"
    write_folder(path)
    (path / "emu").symlink_to(elsewhere)
    (path / "emu again").symlink_to(elsewhere)
    (path / "cat" / "circle").symlink_to(path / "cat")
    (path / "a dog").symlink_to(path / "dog")
    (elsewhere / "around").symlink_to(tmp_path)
    found = own.read(path, size=12)
    assert found.domain.class_names == ("cat", "dog", "emu")
    assert found.domain.counts.tolist() == [4, 4, 4]
    assert sorted(file for file, what in found.skipped if what == folders.LINK) == [
        "a dog",
        "cat/circle",
        "emu again",
        "emu/around",
    ]


def test_names_that_look_alike_are_one_class_and_those_that_differ_by_case_are_two(
    tmp_path,
):
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for k, name in enumerate((composed, apart, "dog", "dog ", "A", "a")):
        write_images(tmp_path / name, first=10 * k)
    found = read(tmp_path)
    assert found.domain.class_names == ("A", "a", "dog", composed)
    assert found.domain.counts.tolist() == [4, 4, 8, 8]
    said = [what for _, what in found.changed]
    assert said.count("2 folders with names that look alike, one class") == 2
    assert "differs by case alone from ['a']; read as classes apart" in said


@pytest.mark.filterwarnings("ignore:mine")
@pytest.mark.parametrize("of", ["file", "class", "folder"])
def test_names_that_are_no_utf_8_can_be_printed_and_written(tmp_path, of):
    path = write_folder(tmp_path / (NOT_UTF_8 if of == "folder" else "mine"))
    if of == "file":
        (path / "cat" / f"{NOT_UTF_8}.png").write_bytes(b"broken")
    if of == "class":
        write_images(path / NOT_UTF_8, first=50)
    found = own.read(path)
    domain = found.domain
    text = json.dumps(
        [domain.name, *domain.class_names, *found.skipped], ensure_ascii=False
    )
    assert r"caf\\xe9" in text and text.encode()
    with pytest.raises(ConfigError) as error:
        own.part(path, "own_train")
    assert str(error.value).encode()


def test_images_of_sub_folders_are_of_the_class_above_which_is_said(tmp_path):
    write_images(write_folder(tmp_path) / "cat" / "tabby", first=50)
    found = read(tmp_path)
    assert found.domain.counts.tolist() == [8, 4]
    assert found.changed == (("cat", "images of 1 sub-folders (tabby) are of this class"),)


def test_the_first_page_of_a_scan_and_names_in_capitals_are_read(tmp_path):
    pages = [Image.fromarray(noise(12, 12, 3, seed=k)) for k in (7, 8)]
    place = write_folder(tmp_path) / "cat"
    pages[0].save(place / "scan.TIFF", save_all=True, append_images=pages[1:])
    found = read(tmp_path)
    assert found.changed == (("cat/scan.TIFF", "the first of 2 pictures"),)
    assert found.domain.images[4, :, 0, 0].tolist() == list(pages[0].getpixel((0, 0)))


def test_whoever_takes_a_part_of_a_folder_is_warned_of_what_was_left_out(tmp_path):
    (write_folder(tmp_path) / "cat" / "cut.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 files or classes are left out.*cat/cut\.png"):
        roles.open_source(roles.Source("mine"), "own", root=tmp_path)


@pytest.mark.parametrize("name", ["plants", "birds.2024"])
def test_a_folder_may_be_called_as_a_drawn_family_or_with_a_dot(tmp_path, name):
    path = write_folder(tmp_path / name)
    (source,) = roles.present("own", root=path)
    assert source.name == own.name(path) == name
    assert roles.checksums(source, "own", root=path) == own.read(path).domain.checksums
