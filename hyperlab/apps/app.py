"""The view of a state: `App(Slope())` makes its controls, draws what `traces` gives, and tells it.

It shows `read_out`, and keeps the state on one line of text that can be pasted into another app.
"""

import html
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from inspect import iscoroutinefunction

import ipywidgets as w
from plotly.callbacks import Points as Clicked

from hyperlab.apps.page import Job, Page, Painter, beside_the_page, live, turns
from hyperlab.apps.state import TROUBLES, State, go_to, line_of
from hyperlab.base import ConfigError

WRAP = {"flex_flow": "row wrap"}


def status(words: str) -> str:
    """Lines that a screen reader says when they change."""
    lines = (f"<div>{html.escape(line)}</div>" for line in words.split("\n"))
    return f'<div role="status">{"".join(lines)}</div>'


class App(w.VBox):
    """Rows of controls, then the views of a state, then its line.

    Args:
        seed: of the notebook: it is on the line too.
    """

    def __init__(self, state: State, *, seed: int = 0) -> None:
        self.state, self.seed = state, seed
        self.job, self.page, self.trouble = Job(self.fail), Page(), w.HTML()
        self.controls = {name: c.widget(state) for name, c in state.controls.items()}
        names = [name for row in state.rows for name in row]
        acts = {name: getattr(type(state), name, None) for name in names}
        self.buttons = {
            name: self._button(*act.button, partial(self.press, name))
            for name, act in acts.items()
            if hasattr(act, "button")
        }
        self.views = {name: w.HTML(layout={"overflow": "auto"}) for name in state.views}
        self.words, self.painter = self.views["words"], None
        if "figure" in state.views:
            self.painter = Painter(state.figure(), state, self.page)
        self.line = w.Text(
            description="state",
            tooltip="copy this line; paste another and press Go there",
            continuous_update=True,
            layout={"flex": "1 1 20em", "width": "auto"},
        )
        self._watched = [name for name in state.trait_names() if name != "waiting"]
        self._shown: list[object] = []  # their values in the picture
        self._bringing = False  # controls in line with the state
        self.redraw()
        if self.painter:  # drawn first: the page loses what is changed before it shows it
            self.views["figure"] = self.figure = live(self.painter.figure)
            self.painter.figure = self.figure
        super().__init__(self._parts())
        self.add_class("hyperlab-app")
        self._listen()

    def _button(self, words: str, tip: str, act: Callable[[], None]) -> w.Button:
        control = w.Button(description=words, tooltip=tip, layout={"width": "auto"})
        control.on_click(lambda _: act())
        return control

    def _parts(self) -> list[w.Widget]:
        every = self.controls | self.buttons
        self.rows = [
            w.HBox([every.get(name) or w.Label(name) for name in row], layout=WRAP)
            for row in self.state.rows
        ]
        copy = self._button("Copy", "copy the line", lambda: None)  # the page does it
        copy.add_class("hyperlab-copy")
        go = lambda: self.go(self.line.value)  # noqa: E731
        there = self._button("Go there", "bring the app to the line's state", go)
        foot = w.HBox([self.line, copy, there], layout=WRAP)
        return [*self.rows, *self.views.values(), foot, self.trouble, self.page]

    def _listen(self) -> None:
        state = self.state
        for name, control in self.controls.items():
            control.observe(partial(self._take, name), "value")
        for name, trait in state.controls.items():
            if act := trait.metadata.get("act"):
                state.observe(lambda _, act=act: self.play(act), name)
        state.observe(self.redraw)
        state.observe(self._wait, "waiting")
        if hasattr(state, "clicked"):
            for trace in self.figure.data:
                trace.on_click(self._clicked)

    def _clicked(self, trace: object, points: Clicked, _: object) -> None:
        if points.point_inds:
            self.state.clicked(trace, points.point_inds[0])

    def _take(self, name: str, change: dict[str, object]) -> None:
        """A control's new value is the state's, or is refused."""
        if self._bringing or getattr(self.state, name) == change["new"]:
            return
        self._attempt(lambda: setattr(self.state, name, change["new"]))

    def press(self, name: str) -> None:
        """What a button does: it ends what was going on first."""
        self.job.stop()
        self.state.settle()
        act = getattr(self.state, name)
        if iscoroutinefunction(act):
            self.play(name)
        else:
            self._attempt(act)

    def _attempt(self, act: Callable[[], None]) -> None:
        self.trouble.value = ""
        try:
            act()
        except TROUBLES as error:
            self.say(f"Not done. {type(error).__name__}: {error}")
            self._tell()
        self.sync()

    def play(self, name: str) -> None:
        """Let the state run: at its pace if it has one, no picture before the last is drawn."""
        self.trouble.value = ""
        self.job.start(self._run(name))

    async def _run(self, name: str) -> None:
        turn = turns(lambda: getattr(self.state, "pace", math.inf), self.page.drawn)
        drawing = name in self.buttons  # a run; else what follows a choice, in a thread
        try:
            with beside_the_page() if drawing else nullcontext():
                await getattr(self.state, name)(turn)
        finally:
            if self.painter:
                self.painter.rest()

    def say(self, words: str) -> None:
        """What went wrong, below the app."""
        self.trouble.value = status(words)

    def fail(self, error: BaseException) -> None:
        """What ended a job."""
        self.state.settle()
        self._tell()
        self.say(f"Stopped. {type(error).__name__}: {error}")

    def go(self, line: str) -> None:
        """To the state of a line; where that is not possible, say why below the app."""
        self.trouble.value = ""
        try:
            go_to(self.state, self.seed, line)
        except ConfigError as error:
            self.say(str(error))
        self.line.value = line_of(self.state, self.seed)

    def redraw(self, _: object = None) -> None:
        """Bring everything in line with the state; several changes at once are drawn once."""
        now = [getattr(self.state, name) for name in self._watched]
        if len(now) == len(self._shown) and all(map(_same, now, self._shown)):
            return
        self._shown, self.trouble.value = now, ""
        try:
            if self.painter:
                self.painter.show(running=self.job.going)
            for name in set(self.views) - {"figure", "words"}:
                self.views[name].value = getattr(self.state, name)()
            self._tell()
        except TROUBLES as error:
            self.words.value = ""
            self.say(f"This cannot be shown. {type(error).__name__}: {error}")
        self.line.value = line_of(self.state, self.seed)

    def _tell(self) -> None:
        self.words.value = status(self.state.waiting or self.state.read_out())
        self.sync()

    def _wait(self, change: dict[str, object]) -> None:
        if change["new"]:
            self.words.value = status(change["new"])
        self.sync()

    def sync(self) -> None:
        """Controls show what the state has; those of no use now are grey."""
        idle, traits = self.state.disabled(), self.state.controls
        self._bringing = True
        try:
            for name, control in self.controls.items():
                traits[name].bring(control, self.state)
        finally:
            self._bringing = False
        for name, control in (self.controls | self.buttons).items():
            control.disabled = name in idle


def _same(a: object, b: object) -> bool:
    return a is b or (isinstance(a, str | int | float) and a == b)
