"""The film of the stepper shows the steps that were taken, and the images that they change."""

from dataclasses import replace

import draw_figures as film
import numpy as np
import pytest
import torch
from PIL import Image

from tests.apps.states import stepped

N = 12  # query images


@pytest.fixture(scope="module")
def shown():
    """Two steps; of the query images one turns right, one wavers, the others stay wrong."""
    state, number = stepped(), torch.arange(N)
    state.steps = 2
    state.step()
    state.step()
    labels, wrong = state.task.episode.query.labels, number > 1
    rows = [wrong | number.eq(0), wrong | number.eq(1), wrong]
    right = [
        replace(r, guesses=(labels + row) % 3)
        for r, row in zip(state.readings, rows, strict=True)
    ]
    return film.Film(state.task, right)


def test_the_images_that_change_most_often_are_shown_in_their_own_order(shown, monkeypatch):
    monkeypatch.setattr(film, "N_IMAGES", 2)
    assert shown.shown.tolist() == [0, 1]


def test_a_figure_has_the_path_up_to_its_step_and_all_of_fine_tuning(shown):
    traces = {(t.name, t.xaxis): t for t in shown.figure(1).data if t.name}
    path = [reading.theta for reading in shown.readings[:2]]
    drawn = traces["learned flow", "x"]
    places = shown.task.plane.to_plane(torch.stack(path))
    np.testing.assert_allclose(np.stack([drawn.x, drawn.y], 1), places, atol=1e-6)
    np.testing.assert_allclose(traces["learned flow", "x2"].x, [0, 0.5])
    assert len(traces["fine-tuning", "x2"].y) == len(shown.task.truth)


def test_the_title_says_step_and_accuracy(shown):
    right = 100 * shown.readings[1].accuracy
    said = shown.figure(1).layout.title.text
    assert f"step 1 of 2: {right:.0f} % of the query images right" in said


def test_all_figures_have_the_same_axes(shown):
    first, last = shown.figure(0).layout, shown.figure(2).layout
    for axis in ("xaxis", "yaxis", "xaxis2", "yaxis2"):
        assert first[axis].range == last[axis].range


def test_every_shown_image_is_called_right_or_wrong(shown):
    words = [
        list(t.text)
        for t in shown.figure(2).data
        if t.type == "scatter" and t.mode == "text"
    ]
    assert words == [["right"] * 2 + ["wrong"] * (N - 2)]


def test_the_facts_are_those_of_the_readings(shown):
    facts = shown.facts()
    first, *_, last = shown.readings
    assert facts["before"] == pytest.approx(first.accuracy, abs=1e-4)
    assert facts["after"] == pytest.approx(last.accuracy, abs=1e-4)
    assert facts["n_query"] == N and facts["steps"] == 2
    assert 0 < facts["plane_shows_of_flow"] <= 1


def test_a_gif_loops_and_stays_at_its_end(tmp_path):
    pictures = [Image.new("RGB", (40, 20), "white") for _ in range(3)]
    for k, picture in enumerate(pictures):
        picture.paste("red", (5 * k, 0, 5 * k + 5, 20))
    film.keep(pictures, tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as found:
        assert found.n_frames == 3 and found.info["loop"] == 0
        times = []
        for k in range(3):
            found.seek(k)
            times.append(found.info["duration"])
    assert times == [film.START_MS, film.STEP_MS, film.END_MS]
