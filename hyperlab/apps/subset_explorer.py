"""Choose what may move, fine-tune, and hold the runs against each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseTraceType
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, State, button, kept
from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow.adapt import FineTuning
from hyperlab.hyperflow.teacher import Supports, fine_tune
from hyperlab.models.targets import Target, leave_one_out_loss, prototypes
from hyperlab.tasks.episodes import Episode
from hyperlab.views import figures

LRS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # Adam's
STEPS = (5, 10, 20, 30)
MEASURES = ("accuracy", "loss")
MOST = len(figures.OKABE_ITO)  # runs side by side, each with a colour of its own
LOOKS = 5  # times that a run is judged on its way


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fine-tuning, judged at some of its steps.

    Args:
        number: 1 for the first since the figure was cleared.
        loss: of the support images as they are, each against the others' class means.
        moved: distance between the parameters after and before.
    """

    number: int
    task: str
    subset: str
    lr: float
    n_params: int
    n_query: int
    knots: tuple[int, ...]  # steps done
    accuracy: tuple[float, ...]  # of the queries, in [0, 1]
    loss: tuple[float, ...]
    moved: float

    @property
    def gain(self) -> float:
        """Points of accuracy."""
        return 100 * (self.accuracy[-1] - self.accuracy[0])

    @property
    def settings(self) -> tuple[str, str, float, int]:
        return self.task, self.subset, self.lr, self.knots[-1]

    @property
    def name(self) -> str:
        return f"{self.number}: {self.subset} ({self.n_params:,})"

    def words(self) -> str:
        done = (
            f"Run {self.number}, {self.subset} on {self.task}: {self.n_params:,} numbers may "
            f"move; {self.knots[-1]} steps at learning rate {self.lr:g} took them "
            f"{self.moved:.2f} away. "
        )
        if not math.isfinite(self.loss[-1]):
            return done + "They are no longer finite: this learning rate is too large."
        return done + (
            f"Accuracy on {self.n_query} queries {self.accuracy[0]:.1%} before, "
            f"{self.accuracy[-1]:.1%} after: {self.gain:+.1f} points; "
            f"support loss {self.loss[0]:.2f} before, {self.loss[-1]:.2f} after."
        )


class SubsetExplorer(State):
    """What the reader can change, and the runs so far.

    Another subset brings its own usual learning rate with it.

    Args:
        tasks: by name.
        methods: one for each subset that may move, with its usual learning rate.
        steps: of a run, to begin with.
    """

    name = "subset_explorer"
    task = Choice("task", lambda s: list(s.tasks))
    subset = Choice("what moves", lambda s: s.movers)
    lr = Choice("learning rate", lambda s: [(f"{lr:g}", lr) for lr in s.lrs], look="slider")
    steps = Choice("steps", STEPS, 20, look="slider")
    runs = tr.Tuple()
    rows = (("task", "subset"), ("lr", "steps"), ("fine_tune", "clear"))

    def __init__(
        self,
        target: Target,
        tasks: Mapping[str, Episode],
        methods: Sequence[FineTuning],
        *,
        steps: int = 20,
    ) -> None:
        if not tasks or not methods:
            raise ConfigError(
                f"want a task and a method, got {list(tasks)} and {len(methods)} methods"
            )
        self.target, self.tasks = target, dict(tasks)
        self.methods = {method.name: method for method in methods}
        self.lrs = tuple(sorted({*LRS, *(m.config.lr for m in methods)}))
        self.count = 0  # of runs since the figure was cleared
        self._views = {name: method.view(target) for name, method in self.methods.items()}
        sizes = {name: view.subset.n_params for name, view in self._views.items()}
        self.movers = [(f"{name} ({n:,})", name) for name, n in sizes.items()]
        super().__init__(steps=steps, lr=methods[0].config.lr)

    @tr.observe("subset")
    def _as_usual(self, _: dict) -> None:
        self.lr = self.methods[self.subset].config.lr

    @button("Fine-tune")
    def fine_tune(self) -> Run:
        """Run with the present settings, once; it becomes the newest unless it is shown."""
        settings = (self.task, self.subset, self.lr, self.steps)
        if shown := [run for run in self.runs if run.settings == settings]:
            return shown[0]
        run = self._run()
        self.count += 1
        self.runs = (*self.runs, replace(run, number=self.count))[-MOST:]
        return self.runs[-1]

    @button("Clear")
    def clear(self) -> None:
        """No run is shown; what was measured is remembered."""
        self.count, self.runs = 0, ()

    @kept("task", "subset", "lr", "steps")
    def _run(self) -> Run:
        method, steps = self.methods[self.subset], self.steps
        view, episode = self._views[self.subset], self.tasks[self.task]
        config = replace(method.config, lr=self.lr, steps=steps)
        knots = range(0, steps + 1, max(1, steps // LOOKS))
        views = [stream(method.seed, "views")]
        with self.wait(f"Fine-tuning {self.subset} on {self.task}, {steps} steps ..."):
            path = fine_tune(view, Supports.join([episode.support]), config, views)
            thetas = [theta[0] for step, (theta, _) in enumerate(path) if step in knots]
            judged = [_judge(view, theta, episode) for theta in thetas]
        accuracy, loss = zip(*judged, strict=True)
        return Run(
            number=0,
            task=self.task,
            subset=self.subset,
            lr=self.lr,
            n_params=view.subset.n_params,
            n_query=len(episode.query.labels),
            knots=tuple(knots),
            accuracy=accuracy,
            loss=loss,
            moved=float((thetas[-1] - thetas[0]).norm()),
        )

    def read_out(self) -> str:
        """The newest run in words, and the one that gained most."""
        if not self.runs:
            return "Nothing has moved yet: choose, then press Fine-tune."
        best = max(self.runs, key=lambda run: run.gain if math.isfinite(run.gain) else -1e9)
        return (
            f"{self.runs[-1].words()} Most gained of the {len(self.runs)} shown: run "
            f"{best.number}, {best.subset} on {best.task}, {best.gain:+.1f} points with "
            f"{best.n_params:,} numbers."
        )

    def disabled(self) -> set[str]:
        return {"fine_tune"} if self.waiting else set()

    def figure(self) -> Figure:
        """Left the query accuracy along the steps, right the support loss, a line for each run."""
        shown = {(run.number - 1) % MOST: run for run in self.runs}  # it keeps its colour
        steps = {"title": "steps", "rangemode": "tozero"}
        return figures.panels(
            *([_line(what, k, shown.get(k)) for k in range(MOST)] for what in MEASURES),
            x=[steps, steps],
            y=[
                {"title": "query accuracy", "tickformat": ".0%"},
                {"title": "support loss", "rangemode": "tozero"},
            ],
            gap=0.12,
        )


def _line(measure: str, slot: int, run: Run | None) -> BaseTraceType:
    return figures.line(
        run.name if run else "",
        slot,
        run.knots if run else [],
        getattr(run, measure) if run else [],
        mode="lines+markers",
        legendgroup=str(slot),
        legendrank=run.number if run else 1_000,
        showlegend=bool(run) and measure == MEASURES[0],
    )


def _judge(
    view: Target, theta: Float[Tensor, " params"], episode: Episode
) -> tuple[float, float]:
    """Query accuracy and loss of the plain support images; NaN where theta is not finite."""
    if not torch.isfinite(theta).all():
        return math.nan, math.nan
    support = episode.support
    with torch.no_grad():
        features = view.features(theta, support.images)
    labels, n_way = support.labels.to(features.device), support.n_way
    loss = leave_one_out_loss(features, labels, n_way, view.logit_scale)
    try:
        accuracy = view.accuracy(theta, episode, prototypes(features, labels, n_way))
    except ConfigError:  # theta is finite, what it gives is not
        return math.nan, math.nan
    return accuracy, loss.item()
