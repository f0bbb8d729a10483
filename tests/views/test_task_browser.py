"""The task browser's rules hold without a browser, and its view shows what the state says."""

import re

import pytest
import torch

from hyperlab.tasks.domains import Domain
from hyperlab.views.apps import task_browser
from hyperlab.views.apps.task_browser import FIXED, VARIABLE, TaskBrowser


def shades(name, n_classes, n_per_class):
    """Class c is a grey level of its own, so that the nearest mean is always right."""
    labels = torch.arange(n_classes).repeat_interleave(n_per_class)
    levels = (labels * (200 // n_classes)).to(torch.uint8)
    images = levels[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    return Domain(name, images, labels, tuple(f"{name} {c}" for c in range(n_classes)))


@pytest.fixture
def state():
    return TaskBrowser({"shades": shades("shades", 8, 25), "few": shades("few", 6, 12)})


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
    view = task_browser.task_browser(state)
    state.domain = "few"  # 12 images of a class: no 5 + 15
    assert state.episode is None and state.table() == ""
    assert "12 images, asked for 5 support + 15 query" in state.read_out()
    state.next_tasks()
    state.n_way = 7
    assert "6 classes, asked for 7" in view.views[0].value
    state.reset()
    state.domain = "shades"
    assert "Task 0 of shades" in view.views[0].value


def test_every_class_is_a_row_whose_pictures_have_words(state):
    table = state.table()
    assert table.count("<tr>") == 1 + 5
    assert len(re.findall(r'alt="(support images|queries) of shades \d', table)) == 10


def test_buttons_have_words_and_move_the_state(state):
    view = task_browser.task_browser(state)
    buttons = {button.description: button for button in view.rows[2].children}
    assert all(name.isprintable() and name for name in buttons)
    buttons["Next task"].click()
    buttons["20 tasks on"].click()
    assert state.number == 21 and len(state.accuracies) == 22
    assert "Task 21 of shades" in view.views[0].value
    buttons["Next style"].click()
    assert state.style == 1 and "style 1" in view.views[0].value
    buttons["Plain"].click()
    assert state.style == 0


def test_controls_and_state_agree_in_both_directions(state):
    view = task_browser.task_browser(state)
    (domain, rule), (n_way, n_shot) = (row.children for row in view.rows[:2])
    assert (n_way.value, n_shot.value) == (5, 5)
    n_way.value, state.n_shot = 6, 3
    assert state.n_way == 6 and n_shot.value == 3
    rule.value = VARIABLE
    assert state.rule == VARIABLE and n_way.disabled and n_shot.disabled
    assert domain.options == ("shades", "few")
