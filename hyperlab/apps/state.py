"""The state behind an app: traits that say which controls they have, a figure, a read-out.

class Slope(State):
    name = "slope"
    slope = Real("slope", 1.0, high=4.0)
    kind = Choice("kind", ("solid", "dash"), look="buttons")
    reset = setting("Reset", slope=1.0)
    rows = [["slope", "kind", "reset"]]

    def figure(self):
        line = figures.line("line", 0, [0, 1], [0, self.slope], line_dash=self.kind)
        return figures.panels([line], x=["x"], y=["y"])

    def read_out(self):
        return f"It rises by {self.slope:.2f}."

`App(Slope())` is the app. A limit and the options of a choice may be functions of the state. Tags:
`act="fetch"` lets the state's asynchronous method `fetch` follow each change; `width="200px"` is
that of the control. A state that steps is a `Steps`: it brings Run and Pause.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import count
from numbers import Integral
from numbers import Real as Number

import ipywidgets as w
import plotly.graph_objects as go
import traitlets as tr

from hyperlab.apps.page import Points, Turn, at_once, draw
from hyperlab.base import ConfigError

TROUBLES = (ArithmeticError, OSError, RuntimeError, TypeError, ValueError, tr.TraitError)
Figure = go.Figure  # what an app draws
PACES = (1, 2, 5, 15)  # steps a second of a run; the drawing follows no faster
_PLACES = count()  # of the traits of a class, as they are written


class Control(tr.TraitType):
    """A trait with a control.

    Args:
        label: in words, beside the control.
        look: which control of its kind.
    """

    kinds: dict[str, type[w.Widget]] = {}

    def __init__(self, label: str, default: object, *, look: str) -> None:
        super().__init__(default_value=default)
        self.label, self.look, self.place = label, look, next(_PLACES)

    def options(self, state: tr.HasTraits) -> dict[str, object]:
        """Of the widget, as they are now."""
        raise NotImplementedError

    def widget(self, state: tr.HasTraits) -> w.Widget:
        """The control, with the state's value."""
        return self.kinds[self.look](
            **self.options(state),
            value=self.get(state),
            description=self.label,
            style={"description_width": "initial"},
            layout={k: v for k, v in self.metadata.items() if k == "width"},
        )

    def bring(self, widget: w.Widget, state: tr.HasTraits) -> None:
        """Bring the control in line with the state; no value between the old and the new."""
        now = self.options(state) | {"value": self.get(state)}
        if any(getattr(widget, name) != value for name, value in now.items()):
            with widget.hold_trait_notifications():
                for name, value in now.items():
                    widget.set_trait(name, value)


class Choice(Control):
    """One of several values, or of pairs of words and a value; the first, if no other is named."""

    kinds = {"list": w.Dropdown, "buttons": w.ToggleButtons, "slider": w.SelectionSlider}

    def __init__(
        self,
        label: str,
        options: Sequence | Callable[[tr.HasTraits], Sequence],
        default: object = tr.Undefined,
        *,
        look: str = "list",
    ) -> None:
        super().__init__(label, default, look=look)
        self.given = options

    def pairs(self, state: tr.HasTraits) -> tuple[tuple[str, object], ...]:
        """Words and value of every option."""
        given = self.given(state) if callable(self.given) else self.given
        return tuple(one if isinstance(one, tuple) else (f"{one}", one) for one in given)

    def default(self, obj: tr.HasTraits | None = None) -> object:
        if self.default_value is not tr.Undefined:
            return self.default_value
        return self.pairs(obj)[0][1]

    def validate(self, obj: tr.HasTraits, value: object) -> object:
        have = [one for _, one in self.pairs(obj)]
        if value not in have:
            raise ConfigError(f"no {self.label} {value!r}; have {have}")
        return have[have.index(value)]

    def options(self, state: tr.HasTraits) -> dict[str, object]:
        return {"options": self.pairs(state)}

    def bring(self, widget: w.Widget, state: tr.HasTraits) -> None:
        if widget.options != (now := self.pairs(state)):
            widget.options = now
        widget.value = self.get(state)


class Whole(Control):
    """A whole number, low and high included."""

    kinds = {"slider": w.IntSlider, "box": w.BoundedIntText}
    kind: type = Integral

    def __init__(
        self,
        label: str,
        default: int | float = 0,
        *,
        low: int | float = 0,
        high: int | float | Callable[[tr.HasTraits], int | float],
        look: str = "slider",
    ) -> None:
        super().__init__(label, default, look=look)
        self.low, self.high = low, high

    def limit(self, state: tr.HasTraits) -> int | float:
        """The highest value."""
        return self.high(state) if callable(self.high) else self.high

    def validate(self, obj: tr.HasTraits, value: object) -> int | float:
        high = self.limit(obj)
        if isinstance(value, bool) or not isinstance(value, self.kind):
            raise ConfigError(f"{self.label}: want a number, got {value!r}")
        if not self.low <= value <= high:
            raise ConfigError(f"{self.label}: {self.low} to {high}, got {value}")
        return value

    def options(self, state: tr.HasTraits) -> dict[str, object]:
        return {"min": self.low, "max": self.limit(state)}


class Real(Whole):
    """A number, low and high included."""

    kinds = {"slider": w.FloatSlider, "box": w.BoundedFloatText}
    kind = Number

    def validate(self, obj: tr.HasTraits, value: object) -> float:
        return float(super().validate(obj, value))

    def options(self, state: tr.HasTraits) -> dict[str, object]:
        step = {"step": 0.05} if self.look == "slider" else {}
        return super().options(state) | step


def button(words: str, tip: str = "") -> Callable[[Callable], Callable]:
    """A method of a state that a button calls; an asynchronous one is a run."""

    def mark(act: Callable) -> Callable:
        act.button = (words, tip or words)
        return act

    return mark


def setting(words: str, tip: str = "", **values: object) -> Callable[["State"], None]:
    """A button that sets traits, each to a value or to what a function of the state gives."""

    def act(state: "State") -> None:
        for name, value in values.items():
            setattr(state, name, value(state) if callable(value) else value)

    return button(words, tip)(act)


def kept(*names: str) -> Callable[[Callable], Callable]:
    """A method of a state whose result is kept for all values that these attributes take."""

    def keep(method: Callable) -> Callable:
        @wraps(method)
        def known(state: "State") -> object:
            results = state.__dict__.setdefault(f"kept {method.__name__}", {})
            if (key := tuple(getattr(state, name) for name in names)) not in results:
                results[key] = method(state)
            return results[key]

        return known

    return keep


class State(tr.HasTraits):
    """What a reader can change, and what follows from it; nothing here knows a page."""

    name = ""  # a word; the line begins with it
    rows: Sequence[Sequence[str]] = ()  # traits, buttons' methods, or plain words
    views: Sequence[str] = ("figure", "words")  # others are methods that give HTML
    SHARED: Sequence[str] = ()  # what the line holds, in the order in which it is set
    waiting = tr.Unicode()  # for what, in words; "": for nothing

    @property
    def controls(self) -> dict[str, Control]:
        """Traits with a control, in the order in which they are written."""
        found = {n: t for n, t in self.traits().items() if isinstance(t, Control)}
        return dict(sorted(found.items(), key=lambda item: item[1].place))

    def figure(self) -> go.Figure:
        """The picture as it is now; always the same traces, empty ones among them."""
        raise NotImplementedError

    def traces(self) -> Points:
        """What changes: trace (number, `meta` or name) -> x, y and perhaps colours; or properties.

        By default all of `figure`; a state that runs says what moves, which is quicker.
        """
        return dict(enumerate(self.figure().data))

    def layout(self) -> Mapping[str, object]:
        """What changes of the layout."""
        return {}

    def read_out(self) -> str:
        """The picture in words and numbers."""
        raise NotImplementedError

    def drawn(self) -> go.Figure:
        """The figure as it is now."""
        figure = self.figure()
        draw(figure, self.traces(), self.layout())
        return figure

    def around(self) -> object:
        """Equal while a step changes nothing but what `moving` gives; None: draw all."""
        return None

    def moving(self) -> Mapping[str, tuple]:
        """Of `traces`, what a step of a run changes."""
        return {}

    def disabled(self) -> set[str]:
        """Controls and buttons that have no use now."""
        return set()

    def settle(self) -> None:
        """Give up what was begun: another button was pressed, or it failed."""
        self.waiting = ""

    @contextmanager
    def wait(self, words: str) -> Iterator[None]:
        """Say what the reader waits for."""
        self.waiting = words
        try:
            yield
        finally:
            self.waiting = ""


class Steps(State):
    """A state that a reader takes forward step by step, or lets run."""

    pace = math.inf  # steps a second of a run; a choice where a reader sets it

    @property
    def left(self) -> int:
        """Steps that a run still takes; at 0 it begins anew."""
        raise NotImplementedError

    def position(self) -> object:
        """What a run steps on from: a run ends where something else has changed it."""
        raise NotImplementedError

    def step(self) -> None:
        """One step further, if there is one left."""
        raise NotImplementedError

    def reset(self) -> None:
        """Back to the start."""
        raise NotImplementedError

    def disabled(self) -> set[str]:
        return set() if self.left else {"step"}

    @button("Run", "step after step to the end; from there, from the start again")
    async def run(self, turn: Turn = at_once) -> None:
        """Step after step, each when its turn comes; ends early where a setting is changed."""
        if not self.left:
            self.reset()
        for _ in range(self.left):
            before = self.position()
            await turn()
            if self.position() != before:
                return
            self.step()  # not in a thread, where it would fight with the messages

    @button("Pause", "stop the run")
    def pause(self) -> None:
        """A press on any button ends a run."""


def line_of(state: State, seed: int) -> str:
    """The app's name, then what the line holds and the notebook's seed, as JSON."""
    settings = {key: getattr(state, key) for key in state.SHARED or state.controls}
    return f"{state.name} {json.dumps(settings | {'notebook_seed': seed})}"


def go_to(state: State, seed: int, line: str) -> None:
    """Bring the state to where a line says, or leave it as it is.

    Raises:
        ConfigError: the line is of another app or another seed, is cut, or names what is not here.
    """
    wanted = _read(state, line)
    if wanted.pop("notebook_seed") != seed:
        raise ConfigError(
            f"this line was made with another seed than {seed}: set the seed that it names "
            "in the notebook's `parameters` cell and run all cells again"
        )
    before = {key: getattr(state, key) for key in wanted}
    try:
        _set(state, wanted)
    except TROUBLES as error:
        _set(state, before)
        raise ConfigError(f"this state is not possible here: {error}") from error


def _read(state: State, line: str) -> dict[str, object]:
    app, _, rest = line.strip().partition(" ")
    if app != state.name:
        raise ConfigError(f"want a line that begins with {state.name!r}, got {app!r}")
    try:
        wanted = json.loads(rest)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the line is cut or changed: {error}; copy it again") from error
    names = [*(state.SHARED or state.controls), "notebook_seed"]
    if not isinstance(wanted, dict) or set(wanted) != set(names):
        raise ConfigError(f"want values of {names}, got {rest[:80]}")
    return {name: wanted[name] for name in names}


def _set(state: State, values: dict[str, object]) -> None:
    for key, value in values.items():
        if getattr(state, key) != value:
            setattr(state, key, value)
