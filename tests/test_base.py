import dataclasses

import pytest
import torch

from hyperlab import base
from hyperlab.base import ConfigError, HyperlabError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SomeConfig:
    steps: int = 3
    lr: float = 0.1


def test_an_unknown_option_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match=r"'eular'; have \['euler', 'heun'\]"):
        base.choose({"heun": 2, "euler": 1}, "eular")


def test_a_stream_depends_on_its_name_alone():
    before = torch.rand(3, generator=base.stream(0, "a", 1))
    torch.rand(9, generator=base.stream(0, "b"))
    assert torch.equal(before, torch.rand(3, generator=base.stream(0, "a", 1)))


@pytest.mark.parametrize("other", [(1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a")])
def test_streams_of_other_names_differ(other):
    ours = torch.rand(3, generator=base.stream(0, "a", 1))
    assert not torch.equal(ours, torch.rand(3, generator=base.stream(*other)))


def test_a_stream_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    torch.rand(3, generator=base.stream(0, "a"))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("change", [{"steps": 4}, {"lr": 0.2}])
def test_a_fingerprint_changes_with_every_field(change):
    assert base.fingerprint(SomeConfig()) != base.fingerprint(SomeConfig(**change))
    assert base.fingerprint(SomeConfig(**change)) == base.fingerprint(SomeConfig(**change))


def test_a_whole_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new folder" / "note.txt"
    with base.whole_file(path) as draft:
        draft.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert list(path.parent.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_no_draft_is(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), base.whole_file(path) as draft:
        draft.write_text("half")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
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
