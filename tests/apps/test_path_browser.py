"""The app of notebook 04: what it draws and says are the recorded paths."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from plotly.callbacks import Points

from hyperlab.apps import path_browser
from hyperlab.apps.app import App
from hyperlab.apps.path_browser import ACCURACY, HERE, LOSS, OF_ONE, PATH, PathBrowser
from hyperlab.base import ArtifactError, ConfigError
from hyperlab.hyperflow import collect
from hyperlab.hyperflow.collect import CollectConfig
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.tasks import roles
from tests.apps.states import TARGET, paths
from tests.tiny import small_world

CONFIG = CollectConfig(
    protocol="5-way 1-shot",
    other="5-way 5-shot",
    n_tasks=6,
    batch=2,
    teacher=TeacherConfig(steps=4, lr=2.0),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name, way in small_world()[1].items():
            patch.setattr(roles, name, way)
        yield collect.collect(TARGET, tmp_path_factory.mktemp("store") / "s", CONFIG)


@pytest.fixture
def state(store):
    return PathBrowser.of(store, TARGET)


def drawn(figure):
    """name -> (x, y) of a line; the chosen knot's three points under their lines' names."""
    lines = {t.name: (list(t.x), list(t.y)) for t in figure.data if t.name != HERE}
    spots = [(t.x[0], t.y[0]) for t in figure.data if t.name == HERE]
    return lines, dict(zip((PATH, LOSS, ACCURACY), spots, strict=True))


def test_every_task_is_drawn_again_as_it_was_recorded(store, state):
    for row, (support, path) in enumerate(collect.redrawn(store)):
        state.task = row
        assert torch.equal(state.episode(row).support.images, support.images)
        assert torch.equal(state.path, path)


def test_tasks_that_diverged_are_left_out_and_the_others_keep_their_images(store, tmp_path):
    copy = collect.create(TARGET, tmp_path / "copy", CONFIG)
    for batch in store.there:
        arrays = store.batch(batch)
        arrays["diverged"] = np.array([batch == 0, False])
        copy.write(batch, arrays)
    state = PathBrowser.of(copy, TARGET)
    whole = PathBrowser.of(store, TARGET)
    assert len(state.data) == 5
    for row in range(5):
        images = (s.episode(r).support.images for s, r in ((state, row), (whole, row + 1)))
        assert torch.equal(*images)


def test_the_numbers_are_those_of_the_path_and_of_the_store(state):
    state.task, state.knot = 3, 2
    found, path = state.read(), state.data.thetas[3]
    assert found.t == 0.5 and found.loss == pytest.approx(float(state.data.losses[3, 2]))
    assert found.gone == pytest.approx(float((path[2] - path[0]).norm()))
    way = (path[1] - path[0]).norm() + (path[2] - path[1]).norm()
    assert found.way == pytest.approx(float(way)) and found.way >= found.gone
    assert found.accuracy == TARGET.accuracy(path[2], state.episode(3))
    flat = state.flat()
    assert found.shown_gone == pytest.approx(float((flat[2] - flat[0]).norm()) / found.gone)
    short = float((flat[1] - flat[0]).norm() + (flat[2] - flat[1]).norm())
    assert found.shown_way == pytest.approx(short / found.way)
    assert f"by a way of {found.way:.2f}" in state.read_out()
    assert f"shows {found.shown_gone:.0%} of that distance" in state.read_out()
    state.knot = 0
    assert state.read().shown_gone == 0 and "Nothing has moved yet" in state.read_out()


def test_a_plane_of_its_own_shows_more_of_a_path(state):
    for task in range(len(state.data)):
        state.task = task
        state.plane = path_browser.OF_ALL
        common = state.drawing.variance(state.path - state.path[0] + state.drawing.origin)
        state.plane = OF_ONE
        assert state.drawing.variance(state.path) >= common - 1e-5
        assert torch.allclose(state.flat()[0], torch.zeros(2), atol=1e-4)


def test_doubted_images_are_those_with_a_large_loss(state):
    state.knot = 1
    support, theta = state.episode(0).support, state.path[1]
    features = TARGET.features(theta, support.images).detach()
    for i, doubted in enumerate(state.unsure().tolist()):
        others = torch.arange(len(features)) != i
        scores = []
        for c in range(support.n_way):
            mine = others & (support.labels == c)
            centre = features[mine].mean(0) if mine.any() else features[i]
            scores.append(torch.cosine_similarity(centre, features[i], 0))
        shares = (TARGET.logit_scale * torch.stack(scores)).softmax(0)
        assert doubted == bool(shares[support.labels[i]] < 1 / support.n_way)
    assert f"task 0, {int(state.unsure().sum())} framed" in state.picture()


def test_the_chosen_knot_is_marked_in_all_three_plots(state):
    assert state.knot == state.last == 4
    for state.task, state.knot in ((0, 4), (2, 1), (5, 3)):
        lines, spots = drawn(state.drawn())
        assert lines[PATH] == tuple(state.flat().T.tolist())
        assert lines[LOSS][1] == state.data.losses[state.task].tolist()
        assert lines[ACCURACY][1] == pytest.approx(list(state.accuracies()))
        for name, (x, y) in spots.items():
            assert (x, y) == (lines[name][0][state.knot], lines[name][1][state.knot])


def test_a_path_of_two_knots_is_refused(state):
    whole = state.data
    short = replace(whole, thetas=whole.thetas[:, :2], losses=whole.losses[:, :2])
    with pytest.raises(ConfigError, match="three or more knots"):
        PathBrowser(short, state.episode, TARGET)


def test_other_data_than_those_recorded_from_are_refused(store, monkeypatch):
    monkeypatch.setattr(roles, "present", lambda role, root=None: (roles.Source("rain"),))
    with pytest.raises(ArtifactError):
        PathBrowser.of(store, TARGET)


@pytest.mark.usefixtures("unchecked_shapes")
def test_a_click_chooses_the_knot_and_what_cannot_be_drawn_again_is_said():
    state = paths()
    box = App(state)
    box.buttons["next_task"].click()
    assert (
        state.task == box.controls["task"].value == 1 and "Task 1 of 6" in box.words.value
    )
    box._clicked(box.figure.data[1], Points(point_inds=[3]), None)
    assert state.knot == box.controls["knot"].value == 3
    assert "task 1, " in box.views["picture"].value
    state.task = 5
    state.next_task()
    assert state.task == 0

    def gone(row):
        raise ArtifactError("no such images any more")

    kept, state.episode = state.episode, gone
    state.task = 4
    words = "This cannot be shown. ArtifactError: no such images any more"
    assert words in box.trouble.value and box.words.value == ""
    state.episode, state.task = kept, 1
    assert box.trouble.value == "" and "Task 1 of 6" in box.words.value
