"""The support picker's rules hold without a browser, and its view shows what the state says."""

import pytest
import torch

from hyperlab.base import ConfigError, stream
from hyperlab.models.cnn import cnn_small
from hyperlab.study.retrieval import DataSet, Retriever
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.views.apps import support_picker
from hyperlab.views.apps.support_picker import TURNED, PickerState
from hyperlab.weights import encoders, flow, recipes
from hyperlab.weights.context import MeanFeatures
from hyperlab.weights.novelty import Originals
from tests.tiny import tiny_target

NET = cnn_small()
QUICK = flow.FlowConfig(width=16, depth=1, steps=2, batch=4)


def noise(name, channels):
    labels = torch.arange(40) % 10
    return torch.rand(40, channels, 28, 28, generator=stream(0, name)), labels


def data_set(name):
    rows = [recipes.untrained(NET, "kaiming_uniform", stream(i, name)) for i in range(6)]
    w, pool = torch.stack(rows), LabelledImages(*noise(f"{name} pool", 3), 10)
    parts = [noise(f"{name} {part}", 1) for part in ("val", "test")]
    return DataSet(name, Originals(NET, w[:5], w[5:], *parts), pool, pool)


SETS = [data_set("sand"), data_set("snow")]
PCA = encoders.PCA(torch.cat([data.originals.train for data in SETS]), 4)


def retriever(readers, context):
    codes = torch.cat([PCA.encode(data.originals.train) for data in SETS])
    told = torch.rand(10, context, generator=stream(1)) if context else None
    found = flow.fit_flow(codes, QUICK, context=told, generator=stream(2))
    return Retriever(PCA, found, NET, readers)


@pytest.fixture(scope="module")
def model():
    reader = MeanFeatures(tiny_target())
    return retriever({data.name: reader for data in SETS}, 320)


@pytest.fixture
def state(model):
    stranger = LabelledImages(*noise("fog", 3), 10)
    return PickerState(model, SETS, {"fog": stranger}, n_eval=20)


def test_support_has_as_many_images_of_every_class_as_asked_for(state):
    state.n_shot = 2
    assert state.support().labels.bincount().tolist() == [2] * 10
    assert state.picture().shape[0] == 3


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


def test_the_view_follows_the_state_and_the_state_its_controls(state):
    view = support_picker.support_picker(state)
    (choices, buttons), (picture, figure, words) = view.rows, view.views
    choices.children[0].value = "fog"
    assert state.shown == "fog" and "30 images of fog" in words.value
    assert "support images of fog" in picture.value
    assert len(figure.data[0].y) == 16
    means = [float(x.mean()) for x in state.accuracies().values()]
    assert list(figure.data[1].y) == pytest.approx(means)
    by_name = {button.description: button for button in buttons.children}
    by_name["Other images"].click()
    by_name["Other starts"].click()
    assert (state.draw, state.start) == (1, 1)
    by_name["Reset"].click()
    assert (state.draw, state.start, state.n_shot) == (0, 0, 3)


def test_what_cannot_be_picked_is_named(model, state):
    with pytest.raises(ConfigError, match="want a model that is told a context"):
        PickerState(retriever({}, 0), SETS)
    with pytest.raises(ConfigError, match="names that differ"):
        PickerState(model, SETS, {"sand": SETS[0].new})
    with pytest.raises(ConfigError, match="unknown option 'mars'"):
        state.shown = "mars"
