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

TURNED = 6  # the EXIF orientation of a camera held upright: turn clockwise to see
NOT_UTF_8 = os.fsdecode(b"caf\xe9")


def noise(seed=0, size=(12, 12, 3)):
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)


def write(folder, n=4, first=0):
    """Image files 0.png ... in a folder, each another one."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.fromarray(noise(first + i)).save(folder / f"{i}.png")
    return folder


def two_classes(path):
    write(path / "cat", first=100), write(path / "dog", first=200)
    return path


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
    clean = read(two_classes(tmp_path)).domain
    write(tmp_path / place / name / "deeper", n=2)
    found = read(tmp_path)
    assert found.domain.class_names == clean.class_names
    assert torch.equal(found.domain.images, clean.images)
    assert [file for file, _ in found.skipped] == [
        str(Path(place, name, "deeper", f"{i}.png")) for i in range(2)
    ]
    assert all(what.startswith(f"in {name}, ") for _, what in found.skipped)


def test_no_query_of_a_folder_with_thumbnails_and_copies_lies_in_its_support(tmp_path):
    for k in range(3):
        folder = write(tmp_path / f"class{k}", n=6, first=10 * k)
        write(folder / ".thumbnails", n=6, first=10 * k)
        for i in range(6):
            Image.open(folder / f"{i}.png").save(folder / f"copy of {i}.bmp")
    domain = read(tmp_path).domain
    for i in range(5):
        episode = own.draw(domain, generator=stream(i))
        rows = torch.cat([episode.support.images, episode.query.images]).flatten(1)
        assert len(rows.unique(dim=0)) == len(rows) == 18


def test_copies_count_once_and_those_of_two_classes_not_at_all(tmp_path):
    two_classes(tmp_path)
    for name, place in (("0.png", "cat/again.png"), ("1.png", "dog/wrong.png")):
        (tmp_path / place).write_bytes((tmp_path / "cat" / name).read_bytes())
    grey = Image.fromarray(noise(7, (12, 12)))
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
        write(tmp_path / name / "cat", first=10 * k)
        write(tmp_path / name / "dog", first=100 + 10 * k)
    if third:
        (tmp_path / third).mkdir()
        (tmp_path / third / "read me.txt").write_bytes(b"")
    if third == "more" and len(parts) > 1:
        write(tmp_path / "more", n=1, first=50)
    found = read(tmp_path)
    assert found.domain.class_names == ("cat", "dog")
    assert found.domain.counts.tolist() == [4 * len(parts)] * 2
    assert {what for _, what in found.skipped} <= {
        "lies beside the folders of train and test"
    }
    assert own.read(tmp_path, split="train").domain.counts.tolist() == [4, 4]


def test_the_parts_of_a_folder_have_their_own_classes(tmp_path):
    write(tmp_path / "train" / "cat"), write(tmp_path / "train" / "dog", first=10)
    write(tmp_path / "val" / "dog", first=20, n=2)
    part = folders.scan(tmp_path).part
    assert (part.class_names, part.labels.bincount().tolist()) == (("cat", "dog"), [4, 6])
    assert part.only("val").class_names == ("dog",)
    found = own.read(tmp_path, split="train")
    assert found.account == {"read": 8, "left out": 0, "too small": 0, "other parts": 2}
    with pytest.raises(DataMissingError, match=r"no test images, only \['train', 'val'\]"):
        own.read(tmp_path, split="test")


def test_a_class_may_be_called_train_and_what_could_be_either_is_asked_about(tmp_path):
    write(two_classes(tmp_path) / "train")
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
    "RGB": lambda: Image.fromarray(noise()),
    "RGBA": lambda: Image.fromarray(noise(size=(12, 12, 4))),
    "LA": lambda: Image.fromarray(noise(size=(12, 12, 2)), "LA"),
    "P": lambda: Image.fromarray(noise()).quantize(7),
    "16 bits": lambda: Image.fromarray(257 * noise(size=(12, 12)).astype(np.uint16)),
    "1": lambda: Image.fromarray(noise(size=(12, 12)) > 99),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_orientation_of_a_camera_is_applied_to_every_kind_of_pixels(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = TURNED
    KINDS[kind]().save(tmp_path / "lying.png")
    KINDS[kind]().save(tmp_path / "turned.png", exif=exif)
    both = pixels.decode_all([tmp_path / "lying.png", tmp_path / "turned.png"], 12, silent)
    assert torch.equal(both[0].rot90(-1, (1, 2)), both[1])
    assert both[0].unique().numel() > 1


MASK = noise(size=(12, 12)) % 2
MASKS = {
    "L": lambda: Image.fromarray(MASK),
    "RGB": lambda: Image.fromarray(np.repeat(MASK[..., None], 3, 2)),
    "16 bits": lambda: Image.fromarray(MASK.astype(np.uint16)),
    "float": lambda: Image.fromarray(MASK.astype(np.float32)),
    "1": lambda: Image.fromarray(MASK > 0),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_0_and_1_are_black_and_white(tmp_path, kind):
    MASKS[kind]().save(two_classes(tmp_path) / "cat" / "mask.tif")
    found = read(tmp_path)
    expected = torch.from_numpy(255 * MASK).expand(3, -1, -1)
    assert torch.equal(found.domain.images[4], expected)
    assert kind == "1" or "cat/mask.tif" in dict(found.changed)


@pytest.mark.parametrize(("others", "white"), [(4095, 4095), (60_000, 65_535), (200, 255)])
def test_16_bits_count_from_black_to_what_their_camera_calls_white(tmp_path, others, white):
    two_classes(tmp_path)
    for name, value in (("a", 180), ("b", others)):
        image = np.full((12, 12), value, np.uint16)
        image[::2] = 0
        Image.fromarray(image).save(tmp_path / "cat" / f"{name}.png")
    found = read(tmp_path)
    assert found.domain.images[4, 0, 1, 1] == round(180 * 255 / white)
    assert found.domain.images[5, 0, 1, 1] == round(others * 255 / white)


def test_both_readers_of_files_lay_transparent_parts_on_white(tmp_path):
    clear = Image.new("RGBA", (12, 12), (200, 0, 0, 51))
    clear.save(two_classes(tmp_path) / "cat" / "clear.png")
    of_data_set = pixels.decode_all([tmp_path / "cat" / "clear.png"], 12, silent)[0]
    assert of_data_set[:, 0, 0].tolist() == [244, 204, 204]
    assert torch.equal(read(tmp_path).domain.images[4], of_data_set)


def test_linked_folders_are_read_once_and_circles_end(tmp_path):
    elsewhere, path = write(tmp_path / "elsewhere", first=300), tmp_path / "mine"
    two_classes(path)
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
        write(tmp_path / name, first=10 * k)
    found = read(tmp_path)
    assert found.domain.class_names == ("A", "a", "dog", composed)
    assert found.domain.counts.tolist() == [4, 4, 8, 8]
    said = [what for _, what in found.changed]
    assert said.count("2 folders with names that look alike, one class") == 2
    assert "differs by case alone from ['a']; read as classes apart" in said


@pytest.mark.filterwarnings("ignore:mine")
@pytest.mark.parametrize("of", ["file", "class", "folder"])
def test_names_that_are_no_utf_8_can_be_printed_and_written(tmp_path, of):
    path = two_classes(tmp_path / (NOT_UTF_8 if of == "folder" else "mine"))
    if of == "file":
        (path / "cat" / f"{NOT_UTF_8}.png").write_bytes(b"broken")
    if of == "class":
        write(path / NOT_UTF_8, first=50)
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
    write(two_classes(tmp_path) / "cat" / "tabby", first=50)
    found = read(tmp_path)
    assert found.domain.counts.tolist() == [8, 4]
    assert found.changed == (("cat", "images of 1 sub-folders (tabby) are of this class"),)


def test_the_first_page_of_a_scan_and_names_in_capitals_are_read(tmp_path):
    pages = [Image.fromarray(noise(k)) for k in (7, 8)]
    place = two_classes(tmp_path) / "cat"
    pages[0].save(place / "scan.TIFF", save_all=True, append_images=pages[1:])
    found = read(tmp_path)
    assert found.changed == (("cat/scan.TIFF", "the first of 2 pictures"),)
    assert found.domain.images[4, :, 0, 0].tolist() == list(pages[0].getpixel((0, 0)))


def test_whoever_takes_a_part_of_a_folder_is_warned_of_what_was_left_out(tmp_path):
    (two_classes(tmp_path) / "cat" / "cut.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 files or classes are left out.*cat/cut\.png"):
        roles.open_source(roles.Source("mine"), "own", root=tmp_path)


def test_a_folder_may_be_called_as_a_family_of_drawn_images(tmp_path):
    path = two_classes(tmp_path / "plants")
    (source,) = roles.present("own", root=path)
    found = roles.checksums(source, "own", root=path)
    assert found == own.read(path).domain.checksums


def test_a_folder_with_a_dot_in_its_name_keeps_its_name(tmp_path):
    assert own.name(two_classes(tmp_path / "birds.2024")) == "birds.2024"


def pack(path, **arrays):
    whole = {"images": noise(size=(6, 12, 12)), "labels": np.array([5, 5, 5, 8, 8, 8])}
    np.savez(path, **(whole | arrays))
    return path


def test_labels_of_a_pack_need_not_start_at_0_nor_be_text(tmp_path):
    assert own.read(pack(tmp_path / "a.npz")).domain.class_names == ("5", "8")
    labels = {"labels": np.array([0, 0, 0, 2, 2, 2])}
    named = pack(
        tmp_path / "b.npz", **labels, class_names=np.array([b"cat", b"emu", b"dog"])
    )
    found = own.read(named)
    assert found.domain.class_names == ("cat", "dog")
    assert [note.file for note in found.skipped] == ["emu"]


@pytest.mark.parametrize(
    ("kind", "top"), [(np.uint16, 65_535), (np.uint16, 4_095), (np.int64, 1), (np.uint8, 1)]
)
def test_a_pack_of_masks_or_of_16_bits_is_not_black(tmp_path, kind, top):
    steps = np.random.default_rng(0).integers(0, top + 1, (6, 12, 12))
    steps[0, 0, 0] = top
    found = own.read(pack(tmp_path / "deep.npz", images=steps.astype(kind)), size=12)
    expected = torch.from_numpy(np.round(steps * 255 / top).astype(np.uint8))
    assert set(found.domain.images.unique().tolist()) <= set(expected.unique().tolist())
    assert found.changed[0].what.endswith("became 255")


def test_copies_in_a_pack_count_once_and_are_listed(tmp_path):
    images = noise(size=(8, 12, 12))
    images[1], images[7] = images[0], images[2]
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = own.read(pack(tmp_path / "mine.npz", images=images, labels=labels), size=12)
    assert found.domain.counts.tolist() == [2, 3]
    assert found.account == {"read": 5, "left out": 3, "too small": 0, "other parts": 0}
    assert [file for file, _ in found.skipped] == ["image 1", "image 2", "image 7"]
    split = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    path = pack(tmp_path / "split.npz", images=images, labels=labels, split=split)
    assert own.read(path, split="train", size=12).account["other parts"] == 2
