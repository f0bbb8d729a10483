import pytest
import torch

from hyperlab import base
from hyperlab.base import ConfigError, HyperlabError


def test_an_unknown_option_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'eular'; have \['euler', 'heun'\]"):
        base.choose({"heun": 2, "euler": 1}, "eular")


@pytest.mark.parametrize(
    ("was", "now", "differ"),
    [
        ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, ["b.c: was 2, is 3"]),
        ({"a": 1}, {"a": 1, "b": 2}, ["b: was None, is 2"]),
        ({"a": [1, 2]}, {"a": (1, 2)}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a: was [1, 2], is [2, 1]"]),
        ({"a": list("wxy")}, {"a": list("wyz")}, ["a: was with ['x'], is with ['z']"]),
    ],
)
def test_of_two_settings_only_what_differs_is_said(was, now, differ):
    assert base.differences(was, now) == differ


def test_a_stream_depends_on_its_name_alone_and_leaves_the_global_one_alone():
    draw = lambda *name: torch.rand(3, generator=base.stream(*name))
    state, before = torch.get_rng_state(), draw(0, "a", 1)
    for other in [(1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a")]:
        assert not torch.equal(before, draw(*other))
    assert torch.equal(before, draw(0, "a", 1))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("place", "can"), [("new/newer", True), (".", True), ("file", False), ("file/x", False)]
)
def test_whether_a_folder_could_be_written_to_is_known_before_it_is_made(
    place, can, tmp_path
):
    (tmp_path / "file").touch()
    assert base.writable(tmp_path / place) is can
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_whole_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new folder" / "note.txt"
    with base.whole_file(path) as draft:
        draft.write_text("all of it", encoding="utf-8")
        assert not path.exists()
    assert path.read_text(encoding="utf-8") == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_no_draft_is(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), base.whole_file(path) as draft:
        draft.write_text("half", encoding="utf-8")
        1 / 0  # noqa: B018
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (base.ConfigError, ValueError),
        (base.DataMissingError, FileNotFoundError),
        (base.ArtifactError, RuntimeError),
    ],
)
def test_our_errors_are_caught_by_their_built_in_names(error, builtin):
    assert issubclass(error, HyperlabError)
    assert issubclass(error, builtin)


def test_silence_passes_everything_through():
    assert list(base.silent("abc", total=3, desc="letters")) == ["a", "b", "c"]
