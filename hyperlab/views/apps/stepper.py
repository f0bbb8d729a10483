"""The live Euler stepper: press Step and see what one step of the learned flow does to a task."""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets as tr
from plotly.basedatatypes import BaseFigure
from plotly.callbacks import Points
from plotly.subplots import make_subplots

from hyperlab import solvers
from hyperlab.views import figures
from hyperlab.views.apps.buttons import with_tips
from hyperlab.views.apps.frame import App, status
from hyperlab.views.apps.query_picture import query_html
from hyperlab.views.apps.stepper_state import LENGTHS, PACES, T_MOST, Reading, Stepper, Task

# slot -> Okabe-Ito number, dash and marker, and opacity; of several paths before one each
LOOKS = {
    "fine-tuning": (2, "dot", "diamond", 0.9),
    "before 1": (6, "dash", "x", 0.45),
    "before 2": (3, "dashdot", "triangle-up", 0.8),
    "before 3": (4, "longdash", "square", 0.8),
    "HyperFlow": (0, "solid", "circle", 1.0),
}
TOLD = ("plane", "accuracy", "loss", "before", "query")  # in words, below the figure
MARKERS = 12  # of a path: hundreds would be half of the time that a picture takes
SHOWN = "shown"  # a ring around the moment that pictures and words tell
TIPS = {
    "Step": "one solver step",
    "Run": "to t = 1; from there to t = 2",
    "Pause": "stop the run",
    "Reset": "back to t = 0; the path stays for comparison",
    "Forget": "clear the paths before",
}


def figure_of(state: Stepper) -> go.Figure:
    """Left the plane, right query accuracy and support loss against t."""
    cells = [[{"rowspan": 2}, {}], [None, {}]]
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=cells,
        column_widths=[0.55, 0.45],
        horizontal_spacing=0.12,
        vertical_spacing=0.12,
    )
    for place, (row, col) in {"plane": (1, 1), "accuracy": (1, 2), "loss": (2, 2)}.items():
        for slot in LOOKS:
            trace = _trace(slot, place, named=place == "plane")
            figure.add_trace(trace, row=row, col=col)
        figure.add_trace(_ring(place), row=row, col=col)
    figure.update_layout(template=figures.TEMPLATE, height=520)
    figure.update_xaxes(title="component 1 of fine-tuning", row=1, col=1)
    figure.update_yaxes(title="component 2", scaleanchor="x", row=1, col=1)
    figure.update_xaxes(range=[-0.04, 1.04], col=2)
    figure.update_xaxes(title="t", row=2, col=2)
    figure.update_yaxes(title="query accuracy", tickformat=".0%", row=1, col=2)
    figure.update_yaxes(title="support loss", row=2, col=2)
    figure.add_vline(x=1, line={"color": figures.GREY, "dash": "dot", "width": 1}, col=2)
    draw(figure, state)
    return figure


def _trace(slot: str, place: str, *, named: bool) -> go.Scatter:
    number, dash, symbol, opacity = LOOKS[slot]
    colour = figures.OKABE_ITO[number]
    return go.Scatter(
        x=[],
        y=[],
        name=slot,
        meta=place,
        legendgroup=slot,
        showlegend=named and not slot.startswith("before"),
        opacity=opacity,
        line={"color": colour, "dash": dash, "width": 2},
        marker={"color": colour, "symbol": symbol, "size": 7, "maxdisplayed": MARKERS},
        mode="lines+markers",
    )


def _ring(place: str) -> go.Scatter:
    look = {"size": 14, "symbol": "circle-open", "color": "black", "line": {"width": 2}}
    return go.Scatter(
        x=[],
        y=[],
        name="shown below, and fine-tuning at that t",
        meta=place,
        legendgroup=SHOWN,
        showlegend=place == "plane",
        mode="markers",
        marker=look,
        hoverinfo="skip",
    )


def draw(figure: BaseFigure, state: Stepper) -> None:
    """Give every trace the points of its path."""
    paths = _paths(state)
    curves = {slot: _curves(path, state.task) for slot, path in paths.items()}
    empty = _curves((), state.task)
    labels = {
        f"before {k}": f"before: {path.label}" for k, path in enumerate(state.before, 1)
    }
    with figure.batch_update():
        for trace in figure.data:
            slot = trace.legendgroup
            trace.x, trace.y = curves.get(slot, empty)[trace.meta]
            if slot.startswith("before") and trace.meta == "plane":
                trace.update(name=labels.get(slot, slot), showlegend=slot in labels)
        figure.update_xaxes(range=[-0.04, _t_end(state) + 0.04], col=2)


def moving(figure: BaseFigure, state: Stepper) -> dict[int, np.ndarray]:
    """Number of a trace -> its points, for those that a step changes."""
    paths = _paths(state)
    curves = {slot: _curves(paths[slot], state.task) for slot in ("HyperFlow", SHOWN)}
    return {
        number: curves[trace.legendgroup][trace.meta]
        for number, trace in enumerate(figure.data)
        if trace.legendgroup in curves
    }


def _t_end(state: Stepper) -> int:
    """How far the axis of t goes: to the end of the flow, or to t = 2."""
    return math.ceil(max([1.0, *(r.t for path in _paths(state).values() for r in path)]))


def _paths(state: Stepper) -> dict[str, Sequence[Reading]]:
    before = {f"before {k}": path.readings for k, path in enumerate(state.before, 1)}
    marked = (state.now, state.task.true_at(state.now.t))
    return {
        "fine-tuning": state.task.truth,
        "HyperFlow": state.readings,
        SHOWN: marked,
        **before,
    }


def _curves(path: Sequence[Reading], task: Task) -> dict[str, np.ndarray]:
    if not path:
        return dict.fromkeys(("plane", "accuracy", "loss"), np.zeros((2, 0), np.float32))
    places = task.plane.to_plane(torch.stack([reading.theta for reading in path]))
    rows = np.array([(r.t, r.accuracy, r.loss) for r in path], np.float32).T
    return {
        "plane": places.T.numpy(),
        "accuracy": rows[[0, 1]],
        "loss": rows[[0, 2]],
    }


class StepperView(App):
    """Step, run, pause, reset; choose network, solver, number of steps, domain and task.

    A click on a point of a path or a curve shows that moment everywhere.

    Args:
        state: all rules are there; here its traits are wired to controls and pictures.
    """

    def __init__(self, state: Stepper, *, seed: int = 0) -> None:
        self.state, self.opening = state, False  # a task is on its way
        self._drawn: object = None  # what is on the screen
        self.controls, self.buttons = _controls(state), with_tips(TIPS)
        self.figure, self.picture = figures.live(figure_of(state)), w.HTML()
        self.notice, self.words = w.HTML(), w.HTML()
        self._wire()
        *controls, shown = self.controls.values()
        rows = [controls[:4], controls[4:], [*self.buttons.values(), shown]]
        views = [self.figure, self.notice, self.words, self.picture]
        super().__init__("stepper", state, rows=rows, views=views, seed=seed)
        self.redraw()

    def _wire(self) -> None:
        state, settings = self.state, ["net", "method", "steps", "length"]
        for name in (*settings, "pace"):
            tr.link((state, name), (self.controls[name], "value"))
        for name in ("domain", "task"):
            self.controls[name].observe(self._task_chosen, "value")
        look = self.controls["shown"]
        look.observe(self._look_at, "value")
        acts = {"Step": state.step, "Pause": lambda: None, "Reset": state.reset}
        for name, act in (acts | {"Forget": state.forget}).items():
            self.buttons[name].on_click(partial(self.press, act))
        self.buttons["Run"].on_click(self.play)
        for trace in self.figure.data:
            if trace.legendgroup in LOOKS:
                trace.on_click(self._clicked)
        state.observe(self.redraw, ["readings", "before", "shown", *settings])

    def _clicked(self, trace: go.Scatter, points: Points, _: object) -> None:
        if points.point_inds:
            t = _paths(self.state)[trace.legendgroup][points.point_inds[0]].t
            path = self.state.readings
            self.state.shown = min(range(len(path)), key=lambda i: abs(path[i].t - t))

    def press(self, act: Callable[[], None], _: object = None) -> None:
        """A task that was on its way is given up too."""
        self.opening = False
        super().press(act)
        self._settle()

    def redraw(self, _: object = None) -> None:
        """Bring everything in line with the state; several changes at once are drawn once."""
        state = self.state
        wanted = (state.readings, state.before, state.shown, state.label())
        if wanted != self._drawn:
            self._drawn = wanted
            self._draw()
        if not self.opening:
            self._settle()

    def _draw(self) -> None:
        state, figure = self.state, self.figure
        around = state.task, state.before, state.label(), _t_end(state)
        self.show(lambda: draw(figure, state), lambda: moving(figure, state), around=around)
        told = [getattr(state, f"{name}_words")() for name in TOLD]
        self.words.value = status(*filter(None, told))
        self.picture.value = query_html(state)
        look = self.controls["shown"]
        with look.hold_trait_notifications():  # no place between the old and the new
            look.max, look.value = T_MOST * state.steps, state.shown

    def _look_at(self, change: dict) -> None:
        self.state.shown = change["new"]
        self.controls["shown"].value = self.state.shown  # no further than the path

    def _settle(self, trouble: str = "") -> None:
        """Controls show the task that is open; the buttons do what is possible."""
        self.notice.value = status(trouble)
        self._enable(possible=self.state.left > 0)
        task = self.state.task
        for name, value in (("domain", task.domain), ("task", task.number)):
            self.controls[name].unobserve(self._task_chosen, "value")
            self.controls[name].value = value
            self.controls[name].observe(self._task_chosen, "value")

    def _enable(self, *, possible: bool) -> None:
        for name in ("Step", "Run"):
            self.buttons[name].disabled = not possible

    def _task_chosen(self, _: object) -> None:
        wanted = self.controls["domain"].value, self.controls["task"].value
        if wanted == (self.state.task.domain, self.state.task.number):
            self.press(lambda: None)
        else:
            self.job.start(self.open_task(*wanted))

    async def open_task(self, domain: str, number: int) -> None:
        """Fine-tune on another task in a thread, then go to it."""
        self.opening = True
        self.notice.value = status(f"Fine-tuning on task {number} of {domain} ...")
        self._enable(possible=False)
        task = await asyncio.to_thread(Task.open, self.state.bench, domain, number)
        self.opening = False
        self.state.adopt(task)

    def fail(self, error: BaseException) -> None:
        """Say what went wrong; the task before stays open."""
        self.opening = False
        self._settle(f"Stopped. {type(error).__name__}: {error}")


def stepper(state: Stepper, *, seed: int = 0) -> StepperView:
    """The app of notebook 07."""
    return StepperView(state, seed=seed)


def _controls(state: Stepper) -> dict[str, w.Widget]:
    def named(
        kind: type[w.Widget], words: str, width: str = "200px", **options: object
    ) -> w.Widget:
        style = {"description_width": "initial"}
        return kind(description=words, style=style, layout={"width": width}, **options)

    return {
        "domain": named(w.Dropdown, "domain", options=list(state.bench.domains)),
        "task": named(w.BoundedIntText, "task", min=0, max=9_999),
        "net": named(w.Dropdown, "network", options=list(state.bench.nets)),
        "method": named(w.Dropdown, "solver", options=list(solvers.STEPS)),
        "steps": named(w.BoundedIntText, "steps to t = 1", min=1, max=64),
        "length": named(w.Dropdown, "length factor", options=LENGTHS),
        "pace": named(w.Dropdown, "steps a second", options=PACES),
        "shown": named(w.IntSlider, "look at step", max=1, width="320px"),
    }
