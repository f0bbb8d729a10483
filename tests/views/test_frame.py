"""An app's state is one line that can be copied and pasted; what is wrong with it is said."""

import asyncio
import json

import ipywidgets as w
import numpy as np
import pytest
import torch
import traitlets as tr

from hyperlab.base import ConfigError
from hyperlab.views.apps import calculator, flow2d, frame
from tests import clock


class State(tr.HasTraits):
    SHARED = ("kind", "steps")
    kind = tr.Enum(("euler", "rk4"), "euler")
    steps = tr.Int(3, min=1)

    @tr.observe("kind")
    def begin(self, _):
        self.steps = 3


@pytest.fixture
def state():
    return State(kind="rk4", steps=7)


def test_a_line_brings_another_state_to_the_same_place(state):
    state.steps = 7
    line, other = frame.line_of("walk", state, 5), State()
    assert line == 'walk {"kind": "rk4", "steps": 7, "notebook_seed": 5}'
    frame.go_to("walk", other, 5, f"  {line}\n")
    assert (other.kind, other.steps) == ("rk4", 7)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "want a line that begins with 'walk', got ''"),
        ('stepper {"kind": "rk4"}', "begins with 'walk', got 'stepper'"),
        ('walk {"kind": "rk4", "ste', "cut or changed: .*; copy it again"),
        ("walk 3", r"want values of \['kind', 'steps', 'notebook_seed'\], got 3"),
        ('walk {"kind": "rk4", "notebook_seed": 0}', "want values of"),
        ('walk {"kind": "rk4", "steps": 2, "notebook_seed": 9}', "another seed than 0"),
        ('walk {"kind": "rk4", "steps": 0, "notebook_seed": 0}', "not possible here"),
        ('walk {"kind": "rk4", "steps": "x", "notebook_seed": 0}', "not possible here"),
        ('walk {"kind": "midpoint", "steps": 2, "notebook_seed": 0}', "not possible here"),
    ],
)
def test_a_line_that_does_not_fit_is_refused_and_nothing_changes(line, said):
    state = State()
    state.steps = 5
    with pytest.raises(ConfigError, match=said):
        frame.go_to("walk", state, 0, line)
    assert (state.kind, state.steps) == ("euler", 5)


def test_the_line_follows_the_state_and_the_button_goes_where_it_says(state):
    app = frame.App("walk", state, rows=[[w.Button(description="Step")]], views=[])
    state.steps = 9
    assert json.loads(app.line.value.partition(" ")[2])["steps"] == 9
    app.line.value = 'walk {"kind": "rk4", "steps": 4, "notebook_seed": 0}'
    (there,) = [b for b in app.children[-3].children if b.description == "Go there"]
    there.click()
    assert state.steps == 4 and app.trouble.value == ""
    app.line.value = "nonsense 1"
    there.click()
    assert "begins with &#x27;walk&#x27;" in app.trouble.value
    assert state.steps == 4 and app.line.value.startswith("walk {")


def test_rows_wrap_and_the_page_can_find_the_app(state):
    app = frame.App("walk", state, rows=[[w.Button(description="Step")]], views=[])
    assert "hyperlab-app" in app._dom_classes
    assert all(r.layout.flex_flow == "row wrap" for r in (*app.rows, app.children[-3]))


def test_the_watch_answers_what_the_page_asks():
    watch, said = frame.Watch(), []
    watch.send = said.append
    watch._handle_custom_msg({"asked": 3}, [])
    assert said == [{"asked": 3}]


def test_a_picture_that_a_page_draws_is_waited_for_and_another_one_is_not():
    watch, sent = frame.Watch(), []
    watch.send = sent.append
    hear = lambda said: watch._handle_custom_msg(said, [])

    async def waited(*answers):
        drawn = asyncio.create_task(watch.drawn())
        await asyncio.sleep(0)
        for answer in answers:
            hear(answer)
        await drawn
        return asyncio.get_running_loop().time()

    assert clock.run(waited()) == 0 and sent == []  # nobody watches
    hear({"hello": True})
    assert clock.run(waited({"drawn": 1})) == 0
    assert clock.run(waited({"drawn": 1})) == frame.PATIENCE_S  # an old picture
    assert clock.run(waited({"drawn": 9}, {"drawn": 3})) == 0
    assert clock.run(waited()) == frame.PATIENCE_S  # the page was closed
    asked = [said["draw"] for said in sent if "draw" in said]
    assert asked == [1, 2, 3, 4]


def test_a_cancel_that_comes_with_the_answer_is_obeyed():
    watch = frame.Watch()
    watch.send = lambda said: None
    watch._handle_custom_msg({"hello": True}, [])

    async def both():
        drawn = asyncio.create_task(watch.drawn())
        await asyncio.sleep(0)
        watch._handle_custom_msg({"drawn": 1}, [])
        await asyncio.sleep(0)  # the answer is on its way to the one who waits
        drawn.cancel()
        await drawn

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(both())


def test_the_page_says_when_painted_points_do_not_fit():
    watch, sent = frame.Watch(), []
    watch.send = sent.append
    watch.paint({4: np.array([[0.0, 1.0], [2.0, 3.0]])})
    assert json.loads(json.dumps(sent)) == [{"paint": [[4, [0, 1], [2, 3]]]}]
    assert watch.fits
    watch._handle_custom_msg({"drawn": 1, "fits": False}, [])
    watch._handle_custom_msg({"drawn": 2, "fits": True}, [])
    assert not watch.fits  # until all is drawn


def test_the_watch_ships_with_the_package():
    assert "export default" in frame.WATCH.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["gradient_flow", "calculator"])
def test_real_states_go_back_to_where_they_were(name):
    def fresh():
        if name == "calculator":
            return calculator.CalculatorState()
        bowl = flow2d.Landscape(
            loss=lambda x: (x**2).sum(),
            start=torch.ones(2),
            t_end=8.0,
            box=(-1.0, 2.0, -1.0, 2.0),
        )
        return flow2d.GradientFlow(bowl, step_size=1.0)

    first, second = fresh(), fresh()
    changes = {"calculator": {"steps": 7, "backbone": "ViT-B/16"}}.get(
        name, {"method": "heun", "step_size": 0.5, "steps": 3}
    )
    for key, value in changes.items():
        setattr(first, key, value)
    line = frame.line_of(name, first, 0)
    frame.go_to(name, second, 0, line)
    assert frame.line_of(name, second, 0) == line
