"""What all apps share: named controls, a line to copy and paste, a picture that follows."""

import asyncio
import json
import re
from collections import defaultdict

import numpy as np
import pytest
import traitlets as tr

from hyperlab.apps import app, through_time
from hyperlab.apps.app import App
from hyperlab.apps.page import PATIENCE_S, SCRIPT, Page, turns
from hyperlab.apps.state import Choice, Steps, Whole, button
from hyperlab.base import ConfigError
from tests import clock
from tests.apps.states import EVERY
from tests.apps.watched import run_before_a_page

pytestmark = pytest.mark.usefixtures("unchecked_shapes")
each = pytest.mark.parametrize("name", EVERY)
UNSEEN = defaultdict(tuple, stepper=("net", "method", "steps", "length"))  # before a step
WORDLESS = defaultdict(tuple, network_map=("plane", "colour"), stepper=("length",))
PICTURES = ("x", "y", "z", "visible", "name")


def picture(figure):
    """What a figure shows, and where it shows it."""
    rows = [
        [_text(trace[key]) for key in PICTURES if key in trace] for trace in figure.data
    ]
    return rows, _text(figure.layout.xaxis.range), figure.layout.xaxis.title.text


def _text(values):
    return str(np.asarray(values).tolist())


def shown(box):
    """Everything that a reader sees change, but words and line."""
    views = [
        view.value for key, view in box.views.items() if key not in ("figure", "words")
    ]
    return [*views, picture(box.figure)] if "figure" in box.views else views


@each
def test_every_control_has_words_and_every_button_says_more(name):
    box = App(EVERY[name][0]())
    assert box.state.name == name
    assert all(control.description.strip() for control in box.controls.values())
    for one in box.buttons.values():
        assert one.description.strip().isprintable() and one.tooltip and not one.icon
    rows = [control for row in box.rows for control in row.children]
    assert {*box.buttons.values()} <= {*rows} and len(rows) == sum(map(len, box.state.rows))
    assert all(row.layout.flex_flow == "row wrap" for row in box.rows)
    assert "hyperlab-app" in box._dom_classes
    if "figure" in box.views:
        assert "sendChartToCloud" in box.figure._config["modeBarButtonsToRemove"]


@each
def test_every_control_moves_plot_and_words(name):
    make, changes = EVERY[name]
    box = App(make())
    for key, value in changes.items():
        words, seen = box.words.value, shown(box)
        box.controls[key].value = value
        assert getattr(box.state, key) == value and box.trouble.value == ""
        assert box.words.value == app.status(box.state.read_out())
        assert (box.words.value == words) == (key in WORDLESS[name])
        assert (shown(box) == seen) == (key in UNSEEN[name])
        if "figure" in box.views:
            assert picture(box.figure) == picture(box.state.drawn())


@each
def test_a_line_brings_another_state_to_the_same_place(name):
    make, changes = EVERY[name]
    box, other = App(make(), seed=5), App(make(), seed=5)
    for key, value in changes.items():
        box.controls[key].value = value
    line = box.line.value
    assert line == app.line_of(box.state, 5) and line.startswith(f"{name} {{")
    assert json.loads(line.partition(" ")[2])["notebook_seed"] == 5
    other.go(f"  {line}\n")
    assert other.trouble.value == "" and other.line.value == line
    assert other.words.value == box.words.value


@each
def test_a_foreign_or_cut_line_is_refused_and_nothing_changes(name):
    box = App(EVERY[name][0]())
    line = box.line.value
    foreign = line.replace('"notebook_seed": 0', '"notebook_seed": 9')
    wrong_ones = {
        "other {}": "want a line that begins with",
        line[:-9]: "is cut",
        f"{name} 3": "want values of",
        foreign: "another seed than 0",
    }
    for wrong, why in wrong_ones.items():
        box.go(wrong)
        assert why in box.trouble.value and box.line.value == line


@each
def test_what_a_control_cannot_be_is_refused_with_what_it_can_be(name):
    state = EVERY[name][0]()
    for key, control in state.controls.items():
        kept = getattr(state, key)
        if isinstance(control, Choice):
            have = [value for _, value in control.pairs(state)]
            wrong = {"nowhere": f"no {control.label} 'nowhere'; have {have}"}
        else:
            low, high = control.low, control.limit(state)
            words = f"{control.label}: {low} to {high}, got "
            wrong = {x: f"{words}{x}" for x in (low - 1, high + 1)}
            wrong |= {"x": f"{control.label}: want a number, got 'x'"}
        for value, why in wrong.items():
            with pytest.raises(ConfigError, match=re.escape(why)):
                state.set_trait(key, value)
        assert getattr(state, key) == kept


@each
def test_what_cannot_be_shown_is_said(name, monkeypatch):
    box = App(EVERY[name][0]())

    def broken(_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(box.state), "read_out", broken)
    box._shown = []
    box.redraw()
    assert "This cannot be shown. RuntimeError: out of memory" in box.trouble.value


# What makes a run short, and what ends it.
RUNS = {
    "flow_sampler": ({"steps": 3}, [{"knot": 3}, {"seed": 1}, {"method": "rk4"}]),
    "gradient_flow": ({"step_size": 0.5}, [{"method": "heun"}, {"step_size": 0.25}]),
    "stepper": ({"steps": 3}, [{"method": "rk4"}, {"place": ["paper", 1]}]),
    "through_time": ({}, [{"stop": 0.0}]),
}
ENDS = [(name, change) for name, (_, changes) in RUNS.items() for change in changes]


def runs(name):
    state = EVERY[name][0]()
    for key, value in RUNS[name][0].items():
        setattr(state, key, value)
    return state


@pytest.fixture
def few_updates(monkeypatch):
    monkeypatch.setattr(through_time, "MOST", 10)


@pytest.mark.usefixtures("few_updates")
@pytest.mark.parametrize("name", RUNS)
def test_a_run_shows_every_step_in_its_turn_and_begins_anew_at_the_end(name):
    state, lefts = runs(name), []

    async def turn():
        lefts.append(state.left)

    for _ in range(2):
        asyncio.run(state.run(turn))
    n = len(lefts) // 2
    assert n > 1 and lefts == [*range(n, 0, -1)] * 2


@pytest.mark.usefixtures("few_updates")
@pytest.mark.parametrize(("name", "change"), ENDS)
@pytest.mark.parametrize("wait", [0, 0.1])  # while it steps, and between two steps
def test_a_run_ends_when_anything_else_is_changed(name, change, wait):
    state = runs(name)

    async def interrupted():
        run = asyncio.create_task(state.run(turns(lambda: 5)))
        await asyncio.sleep(wait)
        for key, value in change.items():
            setattr(state, key, value)
        line = state_of(state)
        await run
        assert state_of(state) == line

    state_of = lambda state: app.line_of(state, 0)
    asyncio.run(interrupted())


@pytest.mark.parametrize("name", [name for name in RUNS if name != "through_time"])
def test_in_a_run_what_moves_is_painted_and_the_figure_learns_it_in_the_end(name):
    state = runs(name)
    state.pace, box = 15, App(state)
    painted = run_before_a_page(box)
    assert len(painted) > 2
    for number, *values in painted[-1]:
        trace = box.figure.data[number]
        known = [trace.x, trace.y, trace.marker.color][: len(values)]
        np.testing.assert_array_equal(np.array(values, float), np.array(known, float))
    assert picture(box.figure) == picture(state.drawn())


class Walk(Steps):
    name = "walk"
    kind = Choice("kind", ("euler", "rk4"))
    steps = Whole("steps", 3, low=1, high=9)
    views = ("words",)
    rows = (("kind", "steps"), ("run", "pause", "fail"))
    told = tr.Unicode()

    @tr.observe("kind")
    def begin(self, _):
        self.steps = 3

    @property
    def left(self):
        return 9 - self.steps

    def position(self):
        return self.kind, self.steps

    def step(self):
        self.steps += 1

    @button("Fail", "once")
    def fail(self):
        with self.wait("Failing ..."):
            self.told = self.waiting
            raise OSError("no such file")

    def read_out(self):
        return f"{self.steps} steps\nof <{self.kind}>"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            'walk {"kind": "rk4", "steps": 0, "notebook_seed": 0}',
            "possible here: steps: 1 to 9",
        ),
        (
            'walk {"kind": "rk4", "steps": "x", "notebook_seed": 0}',
            "want a number, got 'x'",
        ),
        ('walk {"kind": "mid", "steps": 2, "notebook_seed": 0}', "no kind 'mid'; have"),
    ],
)
def test_a_value_that_is_not_possible_leaves_all_as_it_was(line, why):
    state = Walk(steps=5)
    with pytest.raises(ConfigError, match=why):
        app.go_to(state, 0, line)
    assert (state.kind, state.steps) == ("euler", 5)


def test_the_line_is_set_in_its_own_order():
    state = Walk()
    app.go_to(state, 0, 'walk {"steps": 7, "kind": "rk4", "notebook_seed": 0}')
    assert (state.kind, state.steps) == ("rk4", 7)


def test_words_are_lines_of_their_own_and_no_markup():
    assert App(Walk()).words.value == (
        '<div role="status"><div>3 steps</div><div>of &lt;euler&gt;</div></div>'
    )


def test_a_failure_is_said_and_the_next_press_takes_it_away():
    box = App(Walk())
    box.buttons["fail"].click()
    assert box.state.told == "Failing ..." and box.state.waiting == ""
    assert "Not done. OSError: no such file" in box.trouble.value
    assert "3 steps" in box.words.value
    box.buttons["pause"].click()
    assert box.trouble.value == ""


def test_a_run_goes_to_its_end_and_pause_or_another_run_ends_it():
    box = App(Walk())
    box.buttons["run"].click()  # no loop runs here, so all of it happens now
    assert box.state.steps == box.controls["steps"].value == 9

    async def press():
        box.state.steps = 1
        box.buttons["run"].click()
        first = box.job.task
        await asyncio.sleep(0)
        box.buttons["run"].click()
        second = box.job.task
        await asyncio.sleep(0)
        box.buttons["pause"].click()
        await asyncio.wait([first, second])
        return first, second

    assert all(task.cancelled() for task in asyncio.run(press()))
    assert box.state.steps < 9 and not box.job.going


def test_a_run_that_fails_says_so(monkeypatch):
    box, heard = App(Walk()), []
    monkeypatch.setattr(box.page, "drawn", lambda: 1 / 0)

    async def failing():
        asyncio.get_running_loop().set_exception_handler(lambda _, c: heard.append(c))
        box.buttons["run"].click()
        await asyncio.wait([box.job.task])
        await asyncio.sleep(0)

    asyncio.run(failing())
    assert "Stopped. ZeroDivisionError: division by zero" in box.trouble.value
    assert isinstance(heard[0]["exception"], ZeroDivisionError)


def test_the_page_answers_what_it_is_asked():
    page, sent = Page(), []
    page.send = sent.append
    page._handle_custom_msg({"asked": 3}, [])
    assert sent == [{"asked": 3}] and "export default" in SCRIPT.read_text(encoding="utf-8")


def test_a_picture_that_a_page_draws_is_waited_for_and_another_one_is_not():
    page, sent = Page(), []
    page.send = sent.append
    hear = lambda message: page._handle_custom_msg(message, [])

    async def waited(*answers):
        drawn = asyncio.create_task(page.drawn())
        await asyncio.sleep(0)
        for answer in answers:
            hear(answer)
        await drawn
        return asyncio.get_running_loop().time()

    assert clock.run(waited()) == 0 and sent == []  # nobody watches
    hear({"hello": True})
    assert clock.run(waited({"drawn": 1})) == 0
    assert clock.run(waited({"drawn": 1})) == PATIENCE_S  # an old picture
    assert clock.run(waited({"drawn": 9}, {"drawn": 3})) == 0
    assert clock.run(waited()) == PATIENCE_S  # the page was closed
    assert [message["draw"] for message in sent if "draw" in message] == [1, 2, 3, 4]


def test_a_cancel_that_comes_with_the_answer_is_obeyed():
    page = Page()
    page.send = lambda message: None
    page._handle_custom_msg({"hello": True}, [])

    async def both():
        drawn = asyncio.create_task(page.drawn())
        await asyncio.sleep(0)
        page._handle_custom_msg({"drawn": 1}, [])
        await asyncio.sleep(0)  # the answer is on its way to the one who waits
        drawn.cancel()
        await drawn

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(both())


def test_the_page_says_when_painted_points_do_not_fit():
    page, sent = Page(), []
    page.send = sent.append
    page.paint({4: [np.array([0.0, np.nan]), np.array([2.0, 3.0])]})
    assert json.loads(json.dumps(sent, allow_nan=False)) == [
        {"paint": [[4, [0, None], [2, 3]]]}
    ]
    page._handle_custom_msg({"drawn": 1, "fits": False}, [])
    page._handle_custom_msg({"drawn": 2, "fits": True}, [])
    assert not page.fits  # until all is drawn
