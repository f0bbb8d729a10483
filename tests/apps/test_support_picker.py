"""The support picker's rules hold without a browser, and its view shows what the state says."""

from dataclasses import replace

import pytest
import torch

from hyperlab.apps import support_picker
from hyperlab.apps.app import App
from hyperlab.apps.support_picker import TURNED, PickerState
from hyperlab.base import ConfigError
from tests.apps.states import picker, picker_parts


@pytest.fixture
def state():
    return picker()


def test_support_has_as_many_images_of_every_class_as_asked_for(state):
    state.n_shot = 2
    assert state.support().labels.bincount().tolist() == [2] * 10
    assert state.sheet().shape[0] == 3


def test_moved_labels_are_told_for_the_same_images(state):
    before = state.support()
    state.order = TURNED
    after = state.support()
    assert torch.equal(before.images, after.images)
    assert torch.equal((before.labels + 1) % 10, after.labels)
    assert (state.reader(before) - state.reader(after)).abs().max() > 0.01


def test_other_images_starts_and_strangers_make_other_networks(state):
    first = state.networks()
    for name, value in {"draw": 1, "start": 1, "shown": "fog"}.items():
        before = getattr(state, name)
        state.set_trait(name, value)
        assert (state.networks() - first).abs().max() > 0
        state.set_trait(name, before)
    assert torch.equal(state.networks(), first)


def test_accuracies_are_of_every_data_set_and_the_words_name_them(state, monkeypatch):
    found = state.accuracies()
    assert set(found) == {"sand", "snow"} and all(len(x) == 8 for x in found.values())
    monkeypatch.setattr(support_picker, "accuracies", None)  # they are kept
    assert state.accuracies() is found
    for name, x in found.items():
        assert f"{name} {x.mean():.1%}" in state.read_out()
    assert "30 images of sand" in state.read_out()


def test_other_images_and_starts_are_drawn_and_reset(state):
    box = App(state)
    box.controls["shown"].value = "fog"
    assert "30 images of fog" in box.words.value
    assert "support images of fog" in box.views["picture"].value
    means = [float(x.mean()) for x in state.accuracies().values()]
    assert len(box.figure.data[0].y) == 16
    assert list(box.figure.data[1].y) == pytest.approx(means)
    box.buttons["other_images"].click()
    box.buttons["other_starts"].click()
    assert (state.draw, state.start) == (1, 1)
    box.buttons["reset"].click()
    assert (state.draw, state.start, state.n_shot) == (0, 0, 3)


def test_what_cannot_be_picked_is_named(state):
    model, sets = picker_parts()
    with pytest.raises(ConfigError, match="want a model that is told a context"):
        PickerState(replace(model, readers={}), sets)
    with pytest.raises(ConfigError, match="names that differ"):
        PickerState(model, sets, {"sand": sets[0].new})
