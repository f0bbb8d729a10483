"""The task browser's rules hold without a browser, and its view shows what the state says."""

import re

import pytest
import torch

from hyperlab.apps import task_browser
from hyperlab.apps.app import App
from hyperlab.apps.task_browser import FIXED, VARIABLE
from tests.apps.states import browser


@pytest.fixture
def state():
    return browser()


def test_it_begins_with_a_five_way_five_shot_task_of_the_first_domain(state):
    assert (state.domain, state.number, state.rule) == ("shades", 0, FIXED)
    assert state.episode.support.labels.bincount().tolist() == [5] * 5
    assert task_browser.pixel_accuracy(state.episode) == 1
    assert "100.0% right, chance 20.0%" in state.read_out()


def test_way_and_shot_are_obeyed_and_the_classes_stay(state):
    before = state.episode.classes
    state.n_way, state.n_shot = 3, 2
    assert state.episode.support.labels.bincount().tolist() == [2] * 3
    assert state.episode.classes == before[:3]


def test_a_style_changes_every_image_and_neither_classes_nor_labels(state):
    plain = state.episode
    state.style = 3
    assert state.look().operations
    assert state.episode.classes == plain.classes
    assert not torch.equal(state.episode.query.images, plain.query.images)
    state.style = 0
    assert torch.equal(state.episode.query.images, plain.query.images)


def test_the_meta_dataset_rule_gives_uneven_shots(state):
    state.rule = VARIABLE
    shots = state.episode.support.labels.bincount()
    assert state.episode.support.n_way >= 5 and shots.min() < shots.max()


def test_tasks_count_once_and_other_settings_start_anew(state):
    state.next_tasks(5)
    state.number = 2
    assert sorted(state.accuracies) == [0, 1, 2, 3, 4, 5]
    assert "Mean of 6 tasks: 100.0% \u00b1 0.0 points" in state.read_out()
    state.n_way = 4
    assert list(state.accuracies) == [2]
    state.reset()
    assert (state.n_way, state.number, list(state.accuracies)) == (5, 0, [0])


def test_what_cannot_be_drawn_is_said_and_the_way_back_is_open(state):
    box = App(state)
    state.domain = "few"  # 12 images of a class: no 5 + 15
    assert state.episode is None and state.table() == ""
    assert "12 images, asked for 5 support + 15 query" in state.read_out()
    state.next_tasks()
    state.n_way = 7
    assert "6 classes, asked for 7" in box.words.value
    state.reset()
    state.domain = "shades"
    assert "Task 0 of shades" in box.words.value


def test_every_class_is_a_row_whose_pictures_have_words(state):
    table = state.table()
    assert table.count("<tr>") == 1 + 5
    assert len(re.findall(r'alt="(support images|queries) of shades \d', table)) == 10


def test_buttons_move_the_state(state):
    box = App(state)
    box.buttons["next_task"].click()
    box.buttons["twenty_on"].click()
    assert state.number == 21 and len(state.accuracies) == 22
    assert "Task 21 of shades" in box.words.value
    box.buttons["next_style"].click()
    assert state.style == 1 and "style 1" in box.words.value
    box.buttons["plain"].click()
    assert state.style == 0
    state.rule = VARIABLE
    assert box.controls["n_way"].disabled and box.controls["n_shot"].disabled
