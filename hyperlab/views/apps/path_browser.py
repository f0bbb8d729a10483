"""Leaf through recorded fine-tunings: the path in a plane, its curves, its images."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Bool, Float
from plotly.basedatatypes import BaseFigure
from plotly.callbacks import Points
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab.base import ConfigError
from hyperlab.hyperflow.collect import backbone, config_of, require_domains, tasks_of
from hyperlab.hyperflow.trajectories import Trajectories, TrajectoryStore
from hyperlab.models.head import leave_one_out
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import Episode
from hyperlab.views import fields, figures, sheets
from hyperlab.views.apps.buttons import button
from hyperlab.views.apps.frame import App, status
from hyperlab.views.projection import Plane

OF_ALL, OF_ONE = PLANES = ("of all paths", "of this path")
OTHERS, PATH, START = "other tasks' paths", "this task's path", "t = 0"
LOSS, ACCURACY, HERE = "support loss", "query accuracy", "chosen knot"
BEHIND = 60  # other paths that are drawn
COLUMNS = 16  # support images of a class that are shown


class Reading(NamedTuple):
    """A knot in numbers; a length is in the units of theta."""

    t: float
    loss: float
    accuracy: float
    gone: float  # distance from theta0
    way: float  # length of the path so far
    shown_gone: float  # share of the distance that the plane shows
    shown_way: float  # share of the way's length


class PathBrowser(tr.HasTraits):
    """A recorded task, one of its knots, and the plane in which its path is drawn.

    Args:
        data: the paths.
        episode: row of `data` -> its task, drawn again; asked when it is needed.
        target: that the paths belong to.

    Raises:
        ConfigError: paths of fewer than three knots, or none.
    """

    SHARED = ("task", "plane", "knot")

    task = tr.Int(0, min=0)
    plane = tr.Enum(PLANES, OF_ALL)
    knot = tr.Int(0, min=0)

    def __init__(
        self, data: Trajectories, episode: Callable[[int], Episode], target: Target
    ) -> None:
        if not len(data) or data.thetas.shape[1] < 3:
            raise ConfigError(
                f"want a path of three or more knots, got {tuple(data.thetas.shape)}"
            )
        super().__init__()
        self.data, self.target = data, target
        self.episode = lru_cache(maxsize=32)(episode)
        self.accuracies = lru_cache(maxsize=None)(self._accuracies)
        self.axes = lru_cache(maxsize=None)(self._axes)
        self.knot = self.last

    @classmethod
    def of(
        cls, store: TrajectoryStore, target: Target, *, root: Path | str | None = None
    ) -> "PathBrowser":
        """All tasks of a store that are there and did not diverge.

        Raises:
            ArtifactError: a batch is damaged or none is there, or other data lie under `root`
                than when the store was made.
        """
        config, sound = config_of(store), store.sound
        store.require(backbone(target))
        require_domains(store, root=root)

        @lru_cache(maxsize=4)
        def drawn(batch: int) -> list[Episode]:
            return [task.episode for task in tasks_of(store, batch, root=root)]

        def episode(row: int) -> Episode:
            batch, place = divmod(int(sound[row]), config.batch)
            return drawn(batch)[place]

        return cls(store.read(), episode, target)

    @tr.validate("task", "knot")
    def _there(self, proposal: dict) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        last = {"task": len(self.data) - 1, "knot": self.last}[name]
        if value > last:
            raise ConfigError(f"{name}s 0 to {last}, got {value}")
        return value

    @property
    def last(self) -> int:
        """Number of the last knot."""
        return self.data.thetas.shape[1] - 1

    @property
    def path(self) -> Float[Tensor, " knots params"]:
        return self.data.thetas[self.task]

    def next_task(self) -> None:
        """The next; after the last, the first."""
        self.task = (self.task + 1) % len(self.data)

    def _axes(self, number: int | None) -> Plane:
        if number is None:
            return Plane.fit(self.data.thetas)
        return Plane.fit(self.data.thetas[number], origin=self.data.thetas[number, 0])

    @property
    def drawing(self) -> Plane:
        """The chosen plane."""
        return self.axes(None if self.plane == OF_ALL else self.task)

    def flat(self) -> Float[Tensor, " knots 2"]:
        """The path in the plane."""
        return self.drawing.to_plane(self.path)

    def others(self) -> Float[Tensor, " n knots 2"]:
        """Other tasks' paths in the same plane."""
        rows = [i for i in range(len(self.data)) if i != self.task][:BEHIND]
        return self.drawing.to_plane(self.data.thetas[rows])

    def _accuracies(self, number: int) -> tuple[float, ...]:
        task = self.episode(number)
        return tuple(self.target.accuracy(x, task) for x in self.data.thetas[number])

    @torch.no_grad()
    def unsure(self) -> Bool[Tensor, " n"]:
        """The support images whose own class is, by the others' class means, below chance."""
        support = self.episode(self.task).support
        features = self.target.features(self.path[self.knot], support.images)
        whose, ways = torch.zeros_like(support.labels), torch.tensor([support.n_way])
        scale = self.target.logit_scale
        each = leave_one_out(features, support.labels, whose, ways, scale)
        return each > math.log(support.n_way)

    def read(self) -> Reading:
        """The chosen knot in numbers."""
        steps = self.path[: self.knot + 1].diff(dim=0)
        gone, plane = self.path[self.knot] - self.path[0], self.drawing
        way = float(steps.norm(dim=1).sum())
        return Reading(
            t=float(self.data.times[self.knot]),
            loss=float(self.data.losses[self.task, self.knot]),
            accuracy=self.accuracies(self.task)[self.knot],
            gone=float(gone.norm()),
            way=way,
            shown_gone=float(plane.share(gone)),
            shown_way=float(plane.arrows(steps).norm(dim=1).sum()) / max(way, 1e-30),
        )

    def read_out(self) -> str:
        """The picture in words and numbers."""
        x, task, row = self.read(), self.episode(self.task), self.task
        n, domain = len(task.support.labels), self.data.domains[self.data.domain[row]]
        look = "in a random style" if self.data.styled[row] else "plain"
        told = (
            f"Task {row} of {len(self.data)}: {domain}, {look}, {n} support images of "
            f"{task.support.n_way} classes. Knot {self.knot} of {self.last}, t = {x.t:.2f}: "
            f"support loss {x.loss:.2f}, {x.accuracy:.1%} of {len(task.query.labels)} queries "
            f"right ({self.accuracies(row)[0]:.1%} at t = 0). "
        )
        if not self.knot:
            return told + "Nothing has moved yet."
        return told + (
            f"It is {x.gone:.2f} away from the start, by a way of {x.way:.2f}. The plane "
            f"{self.plane} shows {x.shown_gone:.0%} of that distance and {x.shown_way:.0%} of "
            f"that way."
        )

    def picture(self) -> str:
        """The support images, a row for each class, those that are doubted framed."""
        support, unsure = self.episode(self.task).support, self.unsure()
        mine = [support.labels == c for c in range(support.n_way)]
        n = min(COLUMNS, max(int(some.sum()) for some in mine))
        rows = [
            sheets.strip(support.images[some][:n], n=n, framed=unsure[some][:n])
            for some in mine
        ]
        source = sheets.data_uri(torch.cat(rows, dim=1))
        alt = f"support images of task {self.task}, {int(unsure.sum())} framed"
        return (
            f'<figure style="margin:8px 0"><img alt="{alt}" src="{source}">'
            f"<figcaption>Support images, a row for each class. Framed: by the class means of "
            f"the others its own class is less likely than by chance, 1 in {support.n_way} "
            f"({int(unsure.sum())} of {len(unsure)} images).</figcaption></figure>"
        )


def figure_of(state: PathBrowser) -> go.Figure:
    """Left the plane; right loss and accuracy against t; the chosen knot in all three."""
    cells = [[{"rowspan": 2}, {}], [None, {}]]
    figure = make_subplots(
        rows=2, cols=2, specs=cells, horizontal_spacing=0.14, vertical_spacing=0.16,
        column_widths=[0.56, 0.44],
    )  # fmt: skip
    behind = fields.strands(state.others(), name=OTHERS, number=None, opacity=0.6)
    figure.add_trace(behind.data[0], row=1, col=1)
    for number, (name, place) in enumerate(_places().items()):
        look = {"color": figures.OKABE_ITO[number], "dash": figures.DASHES[number]}
        marker = {"color": look["color"], "symbol": figures.MARKERS[number], "size": 7}
        how = {"mode": "lines+markers", "line": look, "marker": marker}
        figure.add_scatter(name=name, **how, **place)
    ring = {"size": 14, "symbol": "circle-open", "color": "black", "line": {"width": 3}}
    figure.add_scatter(name=START, mode="markers", marker=ring, row=1, col=1)
    spot = {"size": 15, "symbol": "diamond", "color": figures.OKABE_ITO[3]}
    spot["line"] = {"color": "black", "width": 1}
    for name, place in _places().items():
        told = {"legendgroup": HERE, "showlegend": name == PATH, "hoverinfo": "skip"}
        figure.add_scatter(name=HERE, mode="markers", marker=spot, **told, **place)
    figure.update_layout(template=figures.TEMPLATE, height=520)
    figure.update_xaxes(title="component 1", row=1, col=1)
    figure.update_yaxes(title="component 2", scaleanchor="x", row=1, col=1)
    figure.update_xaxes(range=[-0.03, 1.03], col=2)
    figure.update_xaxes(title="t (0: pre-trained, 1: fine-tuned)", row=2, col=2)
    figure.update_yaxes(title=LOSS, rangemode="tozero", row=1, col=2)
    figure.update_yaxes(title=ACCURACY, tickformat=".0%", row=2, col=2)
    draw(figure, state)
    return figure


def _places() -> dict[str, dict[str, int]]:
    return {
        PATH: {"row": 1, "col": 1},
        LOSS: {"row": 1, "col": 2},
        ACCURACY: {"row": 2, "col": 2},
    }


def draw(figure: BaseFigure, state: PathBrowser) -> None:
    """Bring the traces in line with the state."""
    flat, times = state.flat(), state.data.times.numpy()
    curves = {
        PATH: tuple(flat.T.numpy()),
        LOSS: (times, state.data.losses[state.task].numpy()),
        ACCURACY: (times, torch.tensor(state.accuracies(state.task)).numpy()),
    }
    traces = {trace.name: trace for trace in figure.data if trace.name != HERE}
    spots = [trace for trace in figure.data if trace.name == HERE]
    behind = fields.strands(state.others(), name=OTHERS).data[0]
    with figure.batch_update():
        traces[OTHERS].x, traces[OTHERS].y = behind.x, behind.y
        traces[START].x, traces[START].y = flat[:1].T.numpy()
        for spot, (name, (x, y)) in zip(spots, curves.items(), strict=True):
            traces[name].x, traces[name].y = x, y
            spot.x, spot.y = x[[state.knot]], y[[state.knot]]


def path_browser(state: PathBrowser, *, seed: int = 0) -> App:
    """Choose a task, a plane and a knot; a click on a point of a line chooses its knot too."""
    view, words, picture = figures.live(figure_of(state)), w.HTML(), w.HTML()
    wide = {"style": {"description_width": "initial"}}
    controls = {
        "task": w.BoundedIntText(max=len(state.data) - 1, description="task", **wide),
        "plane": w.ToggleButtons(options=PLANES, description="plane", **wide),
        "knot": w.IntSlider(max=state.last, description="knot", **wide),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))

    def say(text: str) -> None:
        words.value = status(text)

    def show(_: object = None) -> None:
        say(f"Task {state.task}: its images are drawn again, its knots tried on them ...")
        try:
            draw(view, state)
            picture.value = state.picture()
            say(state.read_out())
        except (OSError, ValueError, RuntimeError) as error:
            say(f"This task cannot be shown. {type(error).__name__}: {error}")

    for trace in view.data:
        if trace.name in _places():
            trace.on_click(partial(_choose, state))
    state.observe(show, list(controls))
    show()
    next_task = button("Next task", state.next_task)
    rows = [[controls["task"], next_task, controls["knot"]], [controls["plane"]]]
    return App("path_browser", state, rows=rows, views=[view, words, picture], seed=seed)


def _choose(state: PathBrowser, trace: object, points: Points, *_: object) -> None:  # noqa: ARG001
    if points.point_inds:
        state.knot = points.point_inds[0]
