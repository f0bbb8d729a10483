"""The live Euler stepper: press Step and see what one step of the learned flow does to a task."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch
import traitlets as tr
from torch.nn import functional as F

from hyperlab import solvers
from hyperlab.apps.bench import Bench, Reading, Task
from hyperlab.apps.query_picture import query_html
from hyperlab.apps.state import (
    PACES,
    Choice,
    Figure,
    Points,
    Steps,
    Turn,
    Whole,
    at_once,
    button,
    setting,
)
from hyperlab.base import ConfigError
from hyperlab.views import figures

T_MOST = 2  # stepping goes on past t = 1, to here
LENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # factors on the drift
MOST_BEFORE = 3  # paths that stay beside the present one
# slot -> Okabe-Ito number, dash and marker, and opacity; of several paths before one each
LOOKS = {
    "fine-tuning": (2, "dot", "diamond", 0.9),
    "before 1": (6, "dash", "x", 0.45),
    "before 2": (3, "dashdot", "triangle-up", 0.8),
    "before 3": (4, "longdash", "square", 0.8),
    "Jacobian flow": (0, "solid", "circle", 1.0),
}
PANELS = ("plane", "accuracy", "loss")
MARKERS = 12  # of a path: hundreds would be half of the time that a picture takes
SHOWN = "shown"  # a ring around the moment that pictures and words tell
NARROW = "200px"


class Path(NamedTuple):
    """A path that was ended, and the settings that it was made with, in words."""

    label: str
    readings: tuple[Reading, ...]


class Stepper(Steps):
    """What the reader can change, and the path that grows from it.

    Args:
        bench: its first domain's task 0 is opened.
    """

    name = "stepper"
    domain = Choice("domain", lambda s: list(s.bench.domains)).tag(
        act="fetch", width=NARROW
    )
    number = Whole("task", high=9_999, look="box").tag(act="fetch", width=NARROW)
    net = Choice("network", lambda s: list(s.bench.nets)).tag(width=NARROW)
    method = Choice("solver", tuple(solvers.STEPS), "euler").tag(width=NARROW)
    steps = Whole("steps to t = 1", 40, low=1, high=64, look="box").tag(width=NARROW)
    length = Choice("length factor", LENGTHS, 1.0).tag(width=NARROW)  # on the drift
    pace = Choice("steps a second", PACES, 5).tag(width=NARROW)  # of a run
    shown = Whole("look at step", high=lambda s: T_MOST * s.steps).tag(width="320px")
    task = tr.Instance(Task)
    readings = tr.Tuple()  # of the path so far, the first at theta0
    before = tr.Tuple()  # the last paths that a reset ended, the newest first
    forget = setting("Forget", "clear the paths before", before=())
    rows = (
        ("domain", "number", "net", "method"),
        ("steps", "length", "pace"),
        ("step", "run", "pause", "reset", "forget", "shown"),
    )
    views = ("figure", "words", "picture")
    SHARED = ("place", "net", "method", "steps", "length", "pace", "done", "shown")

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.open(self.domain, 0)

    def open(self, domain: str, number: int) -> None:
        """Go to another task: takes as long as fine-tuning on it."""
        self.adopt(Task.open(self.bench, domain, number))

    def adopt(self, task: Task) -> None:
        """Go to a task that is open already."""
        with self.hold_trait_notifications():
            self.task, self.before = task, ()
            self.domain, self.number = task.domain, task.number
            self._begin(task.truth[0])

    def _begin(self, first: Reading) -> None:
        self.readings, self.shown, self._label = (first,), 0, self.label()
        self._path = object()  # another one: a run in progress ends

    @property
    def place(self) -> list[str | int]:
        """Domain and number of the task; setting it opens that task."""
        return [self.task.domain, self.task.number]

    @place.setter
    def place(self, place: list[str | int]) -> None:
        self.open(*place)

    async def fetch(self, turn: Turn = at_once) -> None:
        """Fine-tune in a thread on the task that was chosen, then go to it."""
        wanted = [self.domain, self.number]
        if wanted != self.place:
            self.waiting = f"Fine-tuning on task {wanted[1]} of {wanted[0]} ..."
            task = await asyncio.to_thread(Task.open, self.bench, *wanted)
            self.waiting = ""
            self.adopt(task)

    def settle(self) -> None:
        """The task that is open is the one that is chosen."""
        super().settle()
        self.domain, self.number = self.place

    def disabled(self) -> set[str]:
        return {"step", "run"} if self.waiting or not self.left else set()

    @tr.validate("shown")
    def _on_the_path(self, proposal: dict) -> int:
        return min(proposal["value"], self.done)

    @tr.observe("net", "method", "steps", "length")
    def _anew(self, _: object) -> None:
        self.reset()

    @button("Reset", "back to t = 0; the path stays for comparison")
    def reset(self) -> None:
        """Back to theta0; the path that was there is kept in `before`."""
        if not self.readings:
            return
        with self.hold_trait_notifications():
            if self.done:
                ended = Path(self._label, self.readings)
                self.before = (ended, *self.before)[:MOST_BEFORE]
            self._begin(self.readings[0])

    def label(self) -> str:
        """The settings of a path in words."""
        factor = "" if self.length == 1 else f", drift x {self.length:g}"
        return f"{self.net}, {self.method}, {self.steps} steps{factor}"

    @property
    def done(self) -> int:
        """Steps taken; setting it walks from the start again."""
        return len(self.readings) - 1

    @done.setter
    def done(self, n: int) -> None:
        if not 0 <= n <= T_MOST * self.steps:
            raise ConfigError(f"0 to {T_MOST * self.steps} steps, got {n}")
        with self.hold_trait_notifications():
            self.reset()
            for _ in range(n):
                self.step()

    @property
    def now(self) -> Reading:
        """What pictures and words tell."""
        return self.readings[self.shown]

    @property
    def previous(self) -> Reading:
        """One step before it."""
        return self.readings[max(0, self.shown - 1)]

    @property
    def left(self) -> int:
        """Steps to the next whole t: to the end of the flow, or past it to t = 2."""
        if self.done >= T_MOST * self.steps:
            return 0
        return self.steps - self.done % self.steps

    @torch.no_grad()
    def look_ahead(self) -> Reading:
        """The point one solver step further; nothing changes."""
        drift = self.bench.nets[self.net].given(self.task.context)
        length, now = self.length, self.readings[-1]
        times = torch.tensor([self.done, self.done + 1]) / self.steps
        theta = solvers.STEPS[self.method](
            lambda t, x: length * drift(t, x), times[0], now.theta, times[1] - times[0]
        )
        return self.task.measure(times[1].item(), theta)

    @button("Step", "one solver step")
    def step(self) -> None:
        """One step further, up to t = 2."""
        if self.left:
            reading = self.look_ahead()
            with self.hold_trait_notifications():
                self.readings = (*self.readings, reading)
                self.shown = self.done

    def position(self) -> object:
        return self._path, self.done

    def read_out(self) -> str:
        """All of them, a line each."""
        lines = (self.plane_words(), self.accuracy_words(), self.loss_words())
        lines = (*lines, self.before_words(), self.query_words())
        return "\n".join(filter(None, lines))

    def plane_words(self) -> str:
        """Where the path is, and how much of it the plane shows."""
        now, end, task = self.now, self.task.truth[-1].theta, self.task
        moved, tuned = now.theta - task.plane.origin, end - task.plane.origin
        calls = self.shown * solvers.NFE[self.method]
        words = (
            f"t = {now.t:.3g} of the flow: {self.shown} of {self.steps} {self.method} steps, "
            f"{calls} calls of network {self.net}. "
        )
        shown = f"{task.plane.share(tuned):.0%} of the length of fine-tuning's displacement"
        if not self.shown:
            return words + f"The plane shows {shown}."
        cos = F.cosine_similarity(moved, tuned, dim=0)
        return words + (
            f"Displacement: {moved.norm() / tuned.norm():.2f} times as long as "
            f"fine-tuning's, cosine {cos:.2f}. The plane shows {shown} and "
            f"{task.plane.share(moved):.0%} of this one's."
        )

    def accuracy_words(self) -> str:
        """Accuracy now, before, and of fine-tuning."""
        change = 100 * (self.now.accuracy - self.previous.accuracy)
        last = f" ({change:+.0f} points by the last step)" if self.shown else ""
        return f"Query accuracy {self.now.accuracy:.0%}{last}; {self._others('accuracy', '.0%')}"

    def loss_words(self) -> str:
        """Support loss now, before, and of fine-tuning."""
        return f"Support loss {self.now.loss:.3f}; {self._others('loss', '.3f')}"

    def _others(self, measure: str, form: str) -> str:
        truth, tuned = self.task.truth, self.task.true_at(self.now.t)
        values = (getattr(r, measure) for r in (self.readings[0], tuned, truth[-1]))
        first, tuned, end = (f"{value:{form}}" for value in values)
        return f"{first} at t = 0. Fine-tuning: {tuned} at this t, {end} at its end."

    def before_words(self) -> str:
        """Where the paths before ended."""
        ends = [
            f"{label}: {path[-1].accuracy:.0%} at t = {path[-1].t:.3g}"
            for label, path in self.before
        ]
        return f"Before, on this task: {'; '.join(ends)}." if ends else ""

    def query_words(self) -> str:
        """How many query images are right, what changed, and what is taken for what."""
        tags, labels = self.task.tags, self.task.episode.query.labels
        guesses, before = self.now.guesses, self.previous.guesses == labels
        right = guesses == labels
        words = (
            f"{int(right.sum())} of {len(labels)} query images right; by the last step "
            f"{int((right & ~before).sum())} became right and "
            f"{int((before & ~right).sum())} became wrong. "
        )
        pairs = zip(labels[~right].tolist(), guesses[~right].tolist(), strict=True)
        often = Counter(pairs).most_common(3)
        mixed = [f"{tags[a]} for {tags[b]} ({n})" for (a, b), n in often]
        words += f"Most often taken: {', '.join(mixed)}." if mixed else "None is wrong."
        named = zip(tags, self.task.episode.classes, strict=True)
        legend = ", ".join(f"{tag} is {name}" for tag, name in named if tag != name)
        return f"{words} {legend}." if legend else words

    def picture(self) -> str:
        return query_html(self.task, self.now, self.previous, words=self.query_words())

    def clicked(self, trace: go.Scatter, place: int) -> None:
        """The moment of a point of a path or a curve is shown everywhere."""
        if trace.legendgroup in LOOKS:
            t = self._paths()[trace.legendgroup][place].t
            path = self.readings
            self.shown = min(range(len(path)), key=lambda i: abs(path[i].t - t))

    def around(self) -> object:
        return self.task, self.before, self.label(), self._t_end()

    def moving(self) -> Points:
        paths = self._paths()
        return self._curves({slot: paths[slot] for slot in ("Jacobian flow", SHOWN)})

    def traces(self) -> Points:
        """Every path in the plane, and its accuracy and loss; those of before named."""
        points = self._curves(dict.fromkeys(LOOKS, ()) | self._paths())
        for k in range(1, MOST_BEFORE + 1):
            slot, path = f"before {k}", self.before[k - 1 : k]
            x, y = points[f"{slot} plane"]
            look = {"name": f"before: {path[0].label}" if path else slot}
            points[f"{slot} plane"] = look | {"x": x, "y": y, "showlegend": bool(path)}
        return points

    def layout(self) -> dict[str, list[float]]:
        ends = [-0.04, self._t_end() + 0.04]
        return {"xaxis2_range": ends, "xaxis3_range": ends}

    def _t_end(self) -> int:
        """How far the axis of t goes: to the end of the flow, or to t = 2."""
        times = [reading.t for path in self._paths().values() for reading in path]
        return math.ceil(max([1.0, *times]))

    def _paths(self) -> dict[str, Sequence[Reading]]:
        before = {f"before {k}": path.readings for k, path in enumerate(self.before, 1)}
        marked = (self.now, self.task.true_at(self.now.t))
        known = {"fine-tuning": self.task.truth, "Jacobian flow": self.readings}
        return known | {SHOWN: marked} | before

    def _curves(self, paths: dict[str, Sequence[Reading]]) -> dict[str, np.ndarray]:
        points = {}
        for slot, path in paths.items():
            rows = np.array([(r.t, r.accuracy, r.loss) for r in path], np.float32)
            rows = rows.reshape(-1, 3).T
            thetas = [reading.theta for reading in path] or [self.task.plane.origin]
            places = self.task.plane.to_plane(torch.stack(thetas)).T.numpy()
            points[f"{slot} plane"] = places[:, : len(path)]
            points |= {f"{slot} accuracy": rows[[0, 1]], f"{slot} loss": rows[[0, 2]]}
        return points

    def figure(self) -> Figure:
        """Left the plane, right query accuracy and support loss against t."""
        figure = figures.panels(
            *([*(_trace(slot, panel) for slot in LOOKS), _ring(panel)] for panel in PANELS),
            x=["component 1 of fine-tuning", "", "t"],
            y=[
                {"title": "component 2", "scaleanchor": "x"},
                {"title": "query accuracy", "tickformat": ".0%"},
                "support loss",
            ],
            widths=[0.55, 0.45],
            gap=0.12,
            height=520,
        )
        line = {"color": figures.GREY, "dash": "dot", "width": 1}
        return figure.add_vline(x=1, line=line, col=2)


def _trace(slot: str, panel: str) -> go.Scatter:
    number, dash, symbol, opacity = LOOKS[slot]
    return figures.line(
        slot,
        number,
        meta=f"{slot} {panel}",
        legendgroup=slot,
        showlegend=panel == "plane" and not slot.startswith("before"),
        opacity=opacity,
        line_dash=dash,
        marker_symbol=symbol,
        marker_maxdisplayed=MARKERS,
        mode="lines+markers",
    )


def _ring(panel: str) -> go.Scatter:
    return go.Scatter(
        name="shown below, and fine-tuning at that t",
        meta=f"{SHOWN} {panel}",
        legendgroup=SHOWN,
        showlegend=panel == "plane",
        mode="markers",
        marker=figures.RING | {"size": 14, "line": {"width": 2}},
        hoverinfo="skip",
    )
