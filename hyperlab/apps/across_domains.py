"""Pick a domain, a method and a number of steps, and measure: a point with its interval."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseTraceType
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, State, Whole, button, kept, setting
from hyperlab.base import ConfigError
from hyperlab.evaluation.tables import interval, with_interval
from hyperlab.hyperflow.adapt import Method
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import Episode
from hyperlab.views import figures


class Measured(NamedTuple):
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


class AcrossDomains(State):
    """What the reader can change, and everything that was measured so far.

    Args:
        tasks: domain -> its tasks, the same for every method.
        methods: name -> what makes the method with so many steps.
    """

    name = "across_domains"
    domain = Choice("domain", lambda s: list(s.tasks))
    method = Choice("method", lambda s: list(s.methods))
    steps = Whole("steps", 10, low=1, high=64)
    measured = tr.Tuple()
    clear = setting("Clear", "forget what was measured", measured=())
    rows = (("domain", "method"), ("steps", "measure", "clear"))
    SHARED = ("points", "domain", "method", "steps")

    def __init__(
        self,
        target: Target,
        tasks: Mapping[str, Sequence[Episode]],
        methods: Mapping[str, Callable[[int], Method]],
    ) -> None:
        super().__init__()
        if not methods or min(map(len, tasks.values()), default=0) < 2:
            raise ConfigError(
                "needs a method, and two tasks of each domain, or three for an interval; got "
                f"{ {name: len(every) for name, every in tasks.items()} }, {list(methods)}"
            )
        self.target, self.tasks, self.methods = target, tasks, methods

    @button("Measure")
    def measure(self) -> Measured:
        """Run the chosen method on the chosen domain's tasks, once."""
        chosen = (self.domain, self.method, self.steps)
        for old in self.measured:
            if old[:3] == chosen:
                return old
        with self.wait(f"Measuring {self.method} ..."):
            method, tasks = self.methods[self.method](self.steps), self.tasks[self.domain]
            view = method.view(self.target)
            after = [view.accuracy(method(view, task.support), task) for task in tasks]
        gains, before = 100 * (torch.tensor(after) - self.before()), 100 * self.before()
        spread = {"gain": float(gains.mean()), "pm": interval(gains)}
        new = Measured(*chosen, n=len(after), before=float(before.mean()), **spread)
        self.measured = (*self.measured, new)
        return new

    @kept("domain")
    def before(self) -> Float[Tensor, " tasks"]:
        """Accuracy without adaptation of each task of the chosen domain."""
        theta0, tasks = self.target.theta0, self.tasks[self.domain]
        return torch.tensor([self.target.accuracy(theta0, task) for task in tasks])

    @property
    def points(self) -> list[list[str | int]]:
        """Domain, method and steps of all that was measured; setting it measures anew."""
        return [list(one[:3]) for one in self.measured]

    @points.setter
    def points(self, points: list[list[str | int]]) -> None:
        with self.hold_trait_notifications():
            self.measured = ()
            for domain, method, steps in points:
                self.domain, self.method, self.steps = domain, method, steps
                self.measure()

    def disabled(self) -> set[str]:
        return {"measure"} if self.waiting else set()

    def read_out(self) -> str:
        """The last measurements in words, the newest first."""
        if not self.measured:
            return "Nothing measured yet: choose, then press Measure."
        return "\n".join(one.words() for one in self.measured[:-6:-1])

    def figure(self) -> Figure:
        """Gain against steps; colour and dash tell the method, the marker tells the domain."""
        pairs = itertools.product(enumerate(self.methods), enumerate(self.tasks))
        traces = [self._curve(k, method, d, domain) for (k, method), (d, domain) in pairs]
        ticks = [2**k for k in range(7)]
        steps = {"title": "steps", "type": "log", "range": [-0.1, 1.9], "tickvals": ticks}
        figure = figures.panels(traces, x=[steps], y=["gain over no adaptation, points"])
        return figure.add_hline(0, line={"color": figures.GREY, "dash": "dash", "width": 1})

    def _curve(self, number: int, method: str, place: int, domain: str) -> BaseTraceType:
        order = list(dict.fromkeys(one[:2] for one in self.measured))
        matching = [one for one in self.measured if one[:2] == (domain, method)]
        matching.sort(key=lambda one: one.steps)
        return figures.line(
            f"{method} on {domain}",
            number,
            [one.steps for one in matching],
            [one.gain for one in matching],
            error_y={"array": [one.pm for one in matching], "thickness": 2, "width": 4},
            mode="lines+markers",
            size=10,
            marker_symbol=figures.MARKERS[place % len(figures.MARKERS)],
            showlegend=bool(matching),
            legendrank=order.index((domain, method)) + 1 if matching else 1_000,
        )
