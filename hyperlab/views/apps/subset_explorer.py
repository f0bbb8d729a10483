"""Choose what may move, fine-tune, and hold the runs against each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab.base import ConfigError, stream
from hyperlab.hyperflow.adapt import FineTuning
from hyperlab.hyperflow.teacher import Supports, fine_tune
from hyperlab.models.targets import Target, leave_one_out_loss, prototypes
from hyperlab.tasks.episodes import Episode
from hyperlab.views import figures
from hyperlab.views.apps.buttons import button
from hyperlab.views.apps.frame import App, status

LRS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)  # Adam's
STEPS = (5, 10, 20, 30)
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


class SubsetExplorer(tr.HasTraits):
    """What the reader can change, and the runs so far.

    Another subset brings its own usual learning rate with it.

    Args:
        tasks: by name.
        methods: one for each subset that may move, with its usual learning rate.
        steps: of a run, to begin with.

    Raises:
        ConfigError: no task or no method.
    """

    SHARED = ("task", "subset", "lr", "steps")

    task = tr.Unicode()
    subset = tr.Unicode()
    lr = tr.Float()
    steps = tr.Enum(STEPS, 20)
    runs = tr.Tuple()

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
        self._views: dict[str, Target] = {}
        self._known: dict[tuple[str, str, float, int], Run] = {}
        super().__init__(task=next(iter(tasks)), subset=methods[0].name, steps=steps)

    @tr.validate("task", "subset", "lr")
    def _there(self, proposal: dict) -> str | float:
        name, value = proposal["trait"].name, proposal["value"]
        have = {"task": self.tasks, "subset": self.methods, "lr": self.lrs}[name]
        if value not in have:
            raise ConfigError(f"no {name} {value!r}; have {list(have)}")
        return value

    @tr.observe("subset")
    def _as_usual(self, _: dict) -> None:
        self.lr = self.methods[self.subset].config.lr

    @property
    def settings(self) -> tuple[str, str, float, int]:
        return self.task, self.subset, self.lr, self.steps

    def fine_tune(self) -> Run:
        """Run with the present settings, once; it becomes the newest unless it is shown."""
        if shown := [run for run in self.runs if run.settings == self.settings]:
            return shown[0]
        if self.settings not in self._known:
            self._known[self.settings] = self._run()
        self.count += 1
        found = replace(self._known[self.settings], number=self.count)
        self.runs = (*self.runs, found)[-MOST:]
        return found

    def clear(self) -> None:
        """No run is shown; what was measured is remembered."""
        self.count, self.runs = 0, ()

    def _run(self) -> Run:
        method = self.methods[self.subset]
        if self.subset not in self._views:
            self._views[self.subset] = method.view(self.target)
        view, episode = self._views[self.subset], self.tasks[self.task]
        config = replace(method.config, lr=self.lr, steps=self.steps)
        knots = range(0, self.steps + 1, max(1, self.steps // LOOKS))
        views = [stream(method.seed, "views")]
        path = fine_tune(view, Supports.join([episode.support]), config, views)
        thetas = [theta[0] for step, (theta, _) in enumerate(path) if step in knots]
        readings = [_judge(view, theta, episode) for theta in thetas]
        accuracy, loss = zip(*readings, strict=True)
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
        return view.accuracy(
            theta, episode, prototypes(features, labels, n_way)
        ), loss.item()
    except ConfigError:  # theta is finite, what it gives is not
        return math.nan, math.nan


def figure_of(state: SubsetExplorer) -> go.Figure:
    """Left the query accuracy along the steps, right the support loss, a line for each run."""
    figure = make_subplots(cols=2, horizontal_spacing=0.12)
    for column in (1, 2):
        for slot, colour in enumerate(figures.OKABE_ITO):
            look = {
                "line": {"color": colour, "dash": figures.DASHES[slot], "width": 2},
                "marker": {"color": colour, "symbol": figures.MARKERS[slot], "size": 7},
            }
            figure.add_scatter(
                mode="lines+markers", legendgroup=str(slot), **look, row=1, col=column
            )
    figure.update_layout(template=figures.TEMPLATE)
    figure.update_xaxes(title="steps", rangemode="tozero")
    figure.update_yaxes(title="query accuracy", tickformat=".0%", col=1)
    figure.update_yaxes(title="support loss", rangemode="tozero", col=2)
    draw(figure, state)
    return figure


def draw(figure: BaseFigure, state: SubsetExplorer) -> None:
    """Bring the traces in line with the state: a run keeps its colour, dash and marker."""
    shown = {(run.number - 1) % MOST: run for run in state.runs}
    with figure.batch_update():
        for place, trace in enumerate(figure.data):
            column, slot = divmod(place, MOST)
            run = shown.get(slot)
            trace.x = run.knots if run else []
            trace.y = (run.accuracy, run.loss)[column] if run else []
            trace.update(name=run.name if run else "", showlegend=bool(run) and not column)
            trace.legendrank = run.number if run else 1_000


def subset_explorer(state: SubsetExplorer, *, seed: int = 0) -> App:
    """Choose a task, what moves and how fast; fine-tune; compare."""
    view, words = figures.live(figure_of(state)), w.HTML()
    controls = _controls(state)
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))

    def say(text: str) -> None:
        words.value = status(text)

    def run() -> None:
        start.disabled = True
        say(f"Fine-tuning {state.subset} on {state.task}, {state.steps} steps ...")
        try:
            state.fine_tune()
        except (ValueError, RuntimeError) as error:
            say(f"Not done. {type(error).__name__}: {error}")
        else:
            say(state.read_out())
        finally:
            start.disabled = False

    def redraw(_: object = None) -> None:
        draw(view, state)
        say(state.read_out())

    start, clear = button("Fine-tune", run), button("Clear", state.clear)
    start.button_style = "primary"
    state.observe(redraw, "runs")
    redraw()
    rows = [[controls["task"], controls["subset"]], [controls["lr"], controls["steps"]]]
    rows.append([start, clear])
    return App("subset_explorer", state, rows=rows, views=[view, words], seed=seed)


def _controls(state: SubsetExplorer) -> dict[str, w.Widget]:
    wide = {"style": {"description_width": "initial"}}
    sizes = {name: method.view(state.target) for name, method in state.methods.items()}
    movers = [(f"{name} ({v.subset.n_params:,})", name) for name, v in sizes.items()]
    rates = [(f"{lr:g}", lr) for lr in state.lrs]
    return {
        "task": w.Dropdown(options=list(state.tasks), description="task", **wide),
        "subset": w.Dropdown(options=movers, description="what moves", **wide),
        "lr": w.SelectionSlider(
            options=rates, value=state.lr, description="learning rate", **wide
        ),
        "steps": w.SelectionSlider(
            options=STEPS, value=state.steps, description="steps", **wide
        ),
    }
