"""A reader's folder becomes a domain; what cannot be used is listed, and nothing crashes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperlab.base import ArtifactError, ConfigError, DataMissingError, stream
from hyperlab.tasks import own, roles
from hyperlab.tasks.protocols import PROTOCOLS
from tests.tasks.miniatures import encoded, noise, write_folder
from tests.tiny import noise_domain

RED = (200, 10, 30)


def test_a_clean_folder_is_a_domain_and_its_lists_are_empty(tmp_path):
    found = own.read(write_folder(tmp_path / "pets"), size=12)
    assert (found.domain.name, found.domain.class_names) == ("pets", ("cat", "dog"))
    assert found.domain.counts.tolist() == [4, 4]
    assert (
        found.domain.images[5].permute(1, 2, 0).numpy() == noise(12, 12, 3, seed=201)
    ).all()
    assert found.changed == found.skipped == ()


DEEP, FLOATING = np.full((9, 9), 51_400, np.uint16), np.full((9, 9), 0.5, np.float32)
ODD = {  # name -> image, what the list says of it, and a pixel of it in 8 bits
    "deep.png": (lambda: Image.fromarray(DEEP), "16-bit", 200),
    "float.tif": (lambda: Image.fromarray(FLOATING), "floating", 128),
    "clear.png": (lambda: Image.new("RGBA", (9, 9), (9, 9, 9, 0)), "laid on white", 255),
    "half.png": (lambda: Image.new("LA", (9, 9), (0, 51)), "laid on white", 204),
    "cmyk.jpg": (lambda: Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "CMYK made RGB", 254),
    "few.png": (lambda: Image.new("RGB", (9, 9), RED).quantize(2), "palette", 200),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_image_is_made_one_of_8_bits_and_listed(tmp_path, name):
    make, words, red = ODD[name]
    make().save(write_folder(tmp_path) / "cat" / name)
    found = own.read(tmp_path, size=8)
    assert found.skipped == () and found.domain.counts.tolist() == [5, 4]
    (file, what), *others = found.changed
    assert {other.what for other in others} <= {"grey, repeated in three channels"}
    assert file == str(Path("cat", name)) and words in what
    row = sorted([*(f"{i}.png" for i in range(4)), name]).index(name)
    assert found.domain.images[row, 0, 4, 4].item() == pytest.approx(red, abs=1)


def test_grey_joins_colours_and_an_animation_gives_its_first_picture(tmp_path):
    folder = write_folder(tmp_path) / "cat"
    Image.new("RGBA", (9, 9), (*RED, 255)).save(folder / "4.png")
    Image.new("L", (9, 9), 7).save(folder / "5.png")
    pictures = [Image.new("L", (9, 9), v) for v in (255, 0)]
    pictures[0].save(folder / "6.gif", save_all=True, append_images=pictures[1:])
    found = own.read(tmp_path, size=8)
    assert found.domain.images[4:7, :, 4, 4].tolist() == [list(RED), [7] * 3, [255] * 3]
    grey = "grey, repeated in three channels"
    assert {(file[-5:], what) for file, what in found.changed} == {
        ("6.gif", "the first of 2 pictures"),
        ("6.gif", "palette replaced by its colours"),
        ("5.png", grey),
    }


BROKEN = {
    "empty.png": (b"", "no image"),
    "text.jpg": (b"a letter to my aunt", "no image"),
    "cut.png": (encoded(noise(30, 30, 3))[:400], "truncated"),
    "dot.png": (encoded(Image.new("L", (1, 1))), "1 x 1 pixels"),
    "line.png": (encoded(Image.new("L", (300, 2))), "300 x 2 pixels"),
    "huge.tif": (encoded(np.full((9, 9), 7.0, np.float32), "tiff"), "0 to 1"),
    "nan.tif": (encoded(np.full((9, 9), np.nan, np.float32), "tiff"), "nan"),
    "minus.tif": (encoded(np.full((9, 9), -5, np.int32), "tiff"), "-5"),
    "notes.txt": (b"shopping list", "by its name no image"),
}


def test_what_cannot_be_used_is_listed_with_the_reason(tmp_path):
    folder = write_folder(tmp_path)
    for name, (content, _) in BROKEN.items():
        (folder / "dog" / name).write_bytes(content)
    (folder / "loose.png").write_bytes(encoded(Image.new("L", (9, 9))))
    (folder / "dog" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / ".hidden").write_bytes(b"")
    found = own.read(folder, size=8)
    assert found.domain.counts.tolist() == [4, 4]
    said = dict(found.skipped)
    for name, (_, words) in BROKEN.items():
        assert words in said.pop(str(Path("dog", name)))
    assert said.pop("loose.png") == "lies in no class folder"
    assert "link" in said.pop(str(Path("dog", "gone.png")))
    assert said == {".hidden": "hidden"}


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "bmp", "webp", "ppm"])
def test_no_damage_to_a_file_is_a_crash(tmp_path, kind):
    whole, g = encoded(noise(12, 12, 3), kind), np.random.default_rng(1)
    folder = write_folder(tmp_path)
    for i in range(40):
        damaged = bytearray(whole[: g.integers(len(whole))] if i % 2 else whole)
        for place in g.integers(len(damaged), size=min(4, len(damaged)))[: len(damaged)]:
            damaged[place] = g.integers(256)
        (folder / "cat" / f"broken{i}.{kind}").write_bytes(damaged)
    found = own.read(folder, size=8)
    assert len(found.domain.labels) + len(found.skipped) == 48


def test_classes_of_one_image_are_left_out_and_named(tmp_path):
    write_folder(tmp_path, ("cat", "dog", "emu"))
    for folder, keep in (("emu", 1), ("fox", 0)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for file in sorted((tmp_path / folder).iterdir())[keep:]:
            file.unlink()
    found = own.read(tmp_path, size=8)
    assert found.domain.class_names == ("cat", "dog")
    assert [n.file for n in found.skipped] == ["emu", "fox"]
    assert "1 image" in found.skipped[0].what and "no image" in found.skipped[1].what


def files(*names):
    """Another image for each name."""
    return {name: encoded(noise(9, 9, 3, seed=k)) for k, name in enumerate(names)}


CATS = [f"cat/{i}.png" for i in range(3)]
BLANK = dict.fromkeys([*CATS, *(f"dog/{i}.png" for i in range(3))], b"broken")
UNUSABLE = [  # files, the place that is asked for, error
    ({}, "nowhere", DataMissingError, "no folder and no .npz at"),
    ({}, ".", ConfigError, "has no sub-folders"),
    (files("a.png"), ".", ConfigError, "one folder of images for each class"),
    ({"images.txt": b"none"}, "images.txt", ConfigError, "neither a folder nor a .npz"),
    (files(*CATS), ".", ConfigError, r"two classes with 2 images.*'cat': 3"),
    (files("cat/0.png", "dog/0.png"), ".", ConfigError, "two classes.*'cat': 1, 'dog': 1"),
    (BLANK, ".", ConfigError, r"'cat': 0.*6 files were left out.*no image"),
]


@pytest.mark.parametrize(("contents", "place", "kind", "words"), UNUSABLE)
def test_a_folder_that_makes_no_task_is_one_clear_error(
    tmp_path, contents, place, kind, words
):
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with pytest.raises(kind, match=words):
        own.read(tmp_path / place)


def test_more_images_than_fit_into_memory_are_refused_before_they_are_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(own.pixels, "LIMIT_BYTES", 1000)
    with pytest.raises(ConfigError, match="smaller size"):
        own.read(write_folder(tmp_path))


def pack(path, **arrays):
    images = np.arange(7 * 81, dtype=np.uint8).reshape(7, 9, 9)
    whole = {"images": images, "labels": np.array([0, 0, 1, 1, 1, 2, 2])}
    np.savez(path, **(whole | arrays))
    return path


def test_a_pack_is_read_too_and_its_small_classes_are_left_out(tmp_path):
    found = own.read(pack(tmp_path / "mine.npz"), size=8)
    assert (found.domain.name, found.domain.counts.tolist()) == ("mine", [2, 3, 2])
    lonely = pack(tmp_path / "lonely.npz", labels=np.array([0, 0, 1, 1, 1, 1, 2]))
    found = own.read(lonely, size=8)
    assert found.domain.counts.tolist() == [2, 4] and found.skipped[0].file == "2"
    with pytest.raises(DataMissingError, match=r"no folder and no \.npz at .*oak\.npz"):
        own.read(tmp_path / "oak.npz")


def test_labels_of_a_pack_need_not_start_at_0_nor_be_text(tmp_path):
    apart = pack(tmp_path / "a.npz", labels=np.array([5, 5, 5, 8, 8, 8, 8]))
    assert own.read(apart).domain.class_names == ("5", "8")
    labels, names = np.array([0, 0, 0, 2, 2, 2, 2]), np.array([b"cat", b"emu", b"dog"])
    found = own.read(pack(tmp_path / "b.npz", labels=labels, class_names=names))
    assert found.domain.class_names == ("cat", "dog")
    assert [note.file for note in found.skipped] == ["emu"]


@pytest.mark.parametrize(
    ("kind", "top"), [(np.uint16, 65_535), (np.uint16, 4_095), (np.int64, 1), (np.uint8, 1)]
)
def test_a_pack_of_masks_or_of_16_bits_is_not_black(tmp_path, kind, top):
    steps = np.random.default_rng(0).integers(0, top + 1, (7, 9, 9))
    steps[0, 0, 0] = top
    found = own.read(pack(tmp_path / "deep.npz", images=steps.astype(kind)), size=9)
    expected = np.round(steps * 255 / top)
    assert set(found.domain.images.unique().tolist()) <= set(expected.ravel())
    assert found.changed[0].what.endswith("became 255")


def test_copies_in_a_pack_count_once_and_are_listed(tmp_path):
    images = noise(8, 12, 12)
    images[1], images[7] = images[0], images[2]
    arrays = {"images": images, "labels": np.array([0, 0, 0, 0, 1, 1, 1, 1])}
    found = own.read(pack(tmp_path / "mine.npz", **arrays), size=12)
    assert found.domain.counts.tolist() == [2, 3]
    assert found.account == {"read": 5, "left out": 3, "too small": 0, "other parts": 0}
    assert [file for file, _ in found.skipped] == ["image 1", "image 2", "image 7"]
    path = pack(tmp_path / "split.npz", **arrays, split=np.array([0] * 6 + [1] * 2))
    assert own.read(path, split="train", size=12).account["other parts"] == 2


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.zeros(7, int)}, "two classes"),
        ({"labels": np.array(list("aabbbcc"))}, "want N integers"),
        (
            {"images": np.zeros((7, 3, 9), np.uint8)},
            "9 x 3 pixels; want 4 or more each way",
        ),
        ({"class_names": np.array(list("aba"))}, r"name more than one class \['a'\]"),
    ],
)
def test_an_odd_pack_is_one_clear_error(tmp_path, arrays, words):
    with pytest.raises(ConfigError, match=words):
        own.read(pack(tmp_path / "odd.npz", **arrays))


def test_a_damaged_pack_is_one_clear_error(tmp_path):
    path = pack(tmp_path / "cut.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="damaged"):
        own.read(path)


def test_the_halves_of_a_folder_share_no_class_and_are_always_the_same(tmp_path):
    write_folder(tmp_path, tuple("abcde"))
    source = roles.present("own_train", root=tmp_path)[0]
    train, test = (roles.open_source(source, r, root=tmp_path) for r in roles.OWN[1:])
    assert sorted(train.class_names + test.class_names) == list("abcde")
    again = own.part(tmp_path, "own_train")
    assert again.class_names == train.class_names and train.name == test.name
    assert own.part(tmp_path, "own").class_names == tuple("abcde")
    with pytest.raises(ConfigError, match="halves need four"):
        own.part(write_folder(tmp_path / "three", tuple("abc")), "own_test")


def test_the_role_of_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(DataMissingError, match="no folder"):
        roles.present("own", root=tmp_path / "nowhere")
    assert roles.present("own", root=write_folder(tmp_path / "pets"))[0].name == "pets"


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([40] * 8, (5, 5, 15)),
        ([20, 20, 20, 20, 20, 3], (5, 5, 15)),
        ([8, 8, 6], (3, 3, 3)),
        ([2, 9], (2, 1, 1)),
        ([100, 11], (2, 5, 6)),
    ],
)
def test_an_episode_is_as_large_as_the_classes_allow(counts, wanted):
    domain = noise_domain("mine", counts)
    assert tuple(own.sizes(domain).values()) == wanted
    episode = PROTOCOLS["own"].draw(domain, generator=stream(0))
    n_way, n_shot, n_query = wanted
    assert episode.support.labels.bincount().tolist() == [n_shot] * n_way
    assert episode.query.labels.bincount().tolist() == [n_query] * n_way
    assert len(episode.support.labels) <= PROTOCOLS["own"].max_support
