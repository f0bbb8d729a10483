"""Pick a domain, a method and a number of steps, and measure: a point with its interval."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from plotly.basedatatypes import BaseFigure

from hyperlab.base import ConfigError, choose
from hyperlab.hyperflow.adapt import Method
from hyperlab.models.targets import Target
from hyperlab.study.tables import interval, with_interval
from hyperlab.tasks.episodes import Episode
from hyperlab.views import figures
from hyperlab.views.apps.frame import App

MOST_STEPS = 64
Factory = Callable[[int], Method]  # number of steps -> method


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a method gained on the tasks of a domain, in points of accuracy."""

    domain: str
    method: str
    steps: int
    n: int
    gain: float
    pm: float  # half of a 95 % interval over the tasks, paired; none of two: not a number
    before: float

    def words(self) -> str:
        gain = with_interval(self.gain, self.pm, sign="+", scale=1.0)
        return (
            f"{self.method}, {self.steps} steps, on {self.domain}: {gain} points over "
            f"{self.before:.1f} ({self.n} tasks)"
        )


class AcrossDomains(tr.HasTraits):
    """What the reader can change, and everything that was measured so far.

    Args:
        tasks: domain -> its tasks, the same for every method.
        methods: name -> the method with so many steps.
    """

    SHARED = ("points", "domain", "method", "steps")

    domain = tr.Unicode()
    method = tr.Unicode()
    steps = tr.Int(10, min=1, max=MOST_STEPS)
    measured = tr.Tuple()

    def __init__(
        self,
        target: Target,
        tasks: Mapping[str, Sequence[Episode]],
        methods: Mapping[str, Factory],
    ) -> None:
        super().__init__()
        if not methods or min(map(len, tasks.values()), default=0) < 2:
            raise ConfigError(
                "needs a method, and two tasks of each domain, or three for an interval; got "
                f"{ {name: len(some) for name, some in tasks.items()} }, {list(methods)}"
            )
        self.target, self.tasks, self.methods = target, tasks, methods
        self.domain, self.method = next(iter(tasks)), next(iter(methods))
        self._before: dict[str, torch.Tensor] = {}

    def measure(self) -> Measured:
        """Run the chosen method on the chosen domain's tasks, once."""
        for old in self.measured:
            if (old.domain, old.method, old.steps) == (
                self.domain,
                self.method,
                self.steps,
            ):
                return old
        method = choose(self.methods, self.method)(self.steps)
        after = torch.tensor([self._accuracy(method, task) for task in self._here()])
        gains, n = 100 * (after - self.before()), len(after)
        found = Measured(
            domain=self.domain,
            method=self.method,
            steps=self.steps,
            n=n,
            gain=float(gains.mean()),
            pm=interval(gains),
            before=100 * float(self.before().mean()),
        )
        self.measured = (*self.measured, found)
        return found

    def before(self) -> torch.Tensor:
        """Accuracy without adaptation of each task of the chosen domain."""
        if self.domain not in self._before:
            theta0 = self.target.theta0
            found = [self.target.accuracy(theta0, task) for task in self._here()]
            self._before[self.domain] = torch.tensor(found)
        return self._before[self.domain]

    def _here(self) -> Sequence[Episode]:
        return choose(self.tasks, self.domain)

    def _accuracy(self, method: Method, task: Episode) -> float:
        view = method.view(self.target)
        return view.accuracy(method(view, task.support), task)

    @property
    def points(self) -> list[list[str | int]]:
        """Domain, method and steps of all that was measured; setting it measures anew."""
        return [[one.domain, one.method, one.steps] for one in self.measured]

    @points.setter
    def points(self, points: list[list[str | int]]) -> None:
        with self.hold_trait_notifications():
            self.clear()
            for domain, method, steps in points:
                self.domain, self.method, self.steps = domain, method, steps
                self.measure()

    def clear(self) -> None:
        """Forget what was measured."""
        self.measured = ()

    def read_out(self) -> str:
        """The last measurements in words, the newest first."""
        if not self.measured:
            return "Nothing measured yet: choose, then press Measure."
        return "<br>".join(one.words() for one in self.measured[:-6:-1])


def figure_of(state: AcrossDomains) -> go.Figure:
    """Gain against steps, a trace per method and domain."""
    figure = go.Figure(layout={"template": figures.TEMPLATE})
    figure.add_hline(0, line={"color": figures.GREY, "dash": "dash", "width": 1})
    ticks = [2**k for k in range(7)]
    figure.update_xaxes(title="steps", type="log", range=[-0.1, 1.9], tickvals=ticks)
    figure.update_yaxes(title="gain over no adaptation, points")
    draw(figure, state)
    return figure


def draw(figure: BaseFigure, state: AcrossDomains) -> None:
    """A point with its interval for everything that was measured."""
    pairs = list(dict.fromkeys((one.method, one.domain) for one in state.measured))
    with figure.batch_update():
        while len(figure.data) < len(pairs):
            figure.add_scatter(mode="lines+markers")
        for place, trace in enumerate(figure.data):
            some = [
                one
                for one in sorted(state.measured, key=lambda one: one.steps)
                if pairs[place : place + 1] == [(one.method, one.domain)]
            ]
            trace.x = [one.steps for one in some]
            trace.y = [one.gain for one in some]
            trace.error_y = {"array": [one.pm for one in some], "thickness": 2, "width": 4}
            trace.update(
                name=" on ".join(pairs[place]) if some else "", **_look(state, some)
            )


def _look(state: AcrossDomains, some: Sequence[Measured]) -> dict[str, object]:
    # Colour and dash tell the method, the marker tells the domain.
    if not some:
        return {"showlegend": False}
    k = list(state.methods).index(some[0].method) % len(figures.OKABE_ITO)
    d = list(state.tasks).index(some[0].domain) % len(figures.MARKERS)
    colour = figures.OKABE_ITO[k]
    return {
        "showlegend": True,
        "line": {"color": colour, "dash": figures.DASHES[k], "width": 2},
        "marker": {"color": colour, "symbol": figures.MARKERS[d], "size": 10},
    }


def across_domains(state: AcrossDomains, *, seed: int = 0) -> App:
    """Choose, measure, compare."""
    view, words = figures.live(figure_of(state)), w.HTML()
    domain = w.Dropdown(options=list(state.tasks), description="domain")
    method = w.Dropdown(options=list(state.methods), description="method")
    steps = w.IntSlider(min=1, max=MOST_STEPS, description="steps", continuous_update=False)
    measure = w.Button(description="Measure", tooltip="Measure", button_style="primary")
    clear = w.Button(description="Clear", tooltip="Clear")
    for name, control in {"domain": domain, "method": method, "steps": steps}.items():
        tr.link((state, name), (control, "value"))

    def run(_: object) -> None:
        measure.disabled, words.value = True, f"Measuring {state.method} ..."
        try:
            state.measure()
        finally:
            measure.disabled = False
        redraw()

    def redraw(_: object = None) -> None:
        draw(view, state)
        words.value = state.read_out()

    measure.on_click(run)
    clear.on_click(lambda _: state.clear())
    state.observe(redraw, "measured")
    redraw()
    rows = [[domain, method], [steps, measure, clear]]
    return App("across_domains", state, rows=rows, views=[view, words], seed=seed)
