"""Leaf through recorded fine-tunings: the path in a plane, its curves, its images."""

import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, State, Whole, button, kept
from hyperlab.base import ConfigError
from hyperlab.hyperflow.collect import backbone, config_of, require_domains, tasks_of
from hyperlab.hyperflow.trajectories import Trajectories, TrajectoryStore
from hyperlab.models.head import leave_one_out
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import Episode
from hyperlab.views import fields, figures, images
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


class PathBrowser(State):
    """A recorded task, one of its knots, and the plane in which its path is drawn.

    Args:
        data: the paths.
        episode: row of `data` -> its task, drawn again; asked when it is needed.
        target: that the paths belong to.
    """

    name = "path_browser"
    task = Whole("task", high=lambda s: len(s.data) - 1, look="box")
    plane = Choice("plane", PLANES, look="buttons")
    knot = Whole("knot", high=lambda s: s.last)
    rows = (("task", "next_task", "knot"), ("plane",))
    views = ("figure", "words", "picture")

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

    @property
    def last(self) -> int:
        """Number of the last knot."""
        return self.data.thetas.shape[1] - 1

    @property
    def path(self) -> Float[Tensor, " knots params"]:
        return self.data.thetas[self.task]

    @button("Next task")
    def next_task(self) -> None:
        """The next; after the last, the first."""
        self.task = (self.task + 1) % len(self.data)

    @property
    def drawing(self) -> Plane:
        """The chosen plane."""
        return self._axes() if self.plane == OF_ALL else self._own_axes()

    @kept()
    def _axes(self) -> Plane:
        return Plane.fit(self.data.thetas)

    @kept("task")
    def _own_axes(self) -> Plane:
        return Plane.fit(self.path, origin=self.path[0])

    def flat(self) -> Float[Tensor, " knots 2"]:
        """The path in the plane."""
        return self.drawing.to_plane(self.path)

    def others(self) -> Float[Tensor, " n knots 2"]:
        """Other tasks' paths in the same plane."""
        rows = [i for i in range(len(self.data)) if i != self.task][:BEHIND]
        return self.drawing.to_plane(self.data.thetas[rows])

    @kept("task")
    def accuracies(self) -> tuple[float, ...]:
        """Of every knot, on the queries of the task."""
        words = f"Task {self.task}: its images are drawn again, its knots tried on them ..."
        with self.wait(words):
            task = self.episode(self.task)
            return tuple(self.target.accuracy(theta, task) for theta in self.path)

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
            accuracy=self.accuracies()[self.knot],
            gone=float(gone.norm()),
            way=way,
            shown_gone=float(plane.share(gone)),
            shown_way=float(plane.arrows(steps).norm(dim=1).sum()) / max(way, 1e-30),
        )

    def read_out(self) -> str:
        x, task, row = self.read(), self.episode(self.task), self.task
        n, domain = len(task.support.labels), self.data.domains[self.data.domain[row]]
        look = "in a random style" if self.data.styled[row] else "plain"
        words = (
            f"Task {row} of {len(self.data)}: {domain}, {look}, {n} support images of "
            f"{task.support.n_way} classes. Knot {self.knot} of {self.last}, t = {x.t:.2f}: "
            f"support loss {x.loss:.2f}, {x.accuracy:.1%} of {len(task.query.labels)} queries "
            f"right ({self.accuracies()[0]:.1%} at t = 0). "
        )
        if not self.knot:
            return words + "Nothing has moved yet."
        return words + (
            f"It is {x.gone:.2f} away from the start, by a way of {x.way:.2f}. The plane "
            f"{self.plane} shows {x.shown_gone:.0%} of that distance and {x.shown_way:.0%} of "
            f"that way."
        )

    def picture(self) -> str:
        """The support images, a row for each class, those that are doubted framed."""
        support, unsure = self.episode(self.task).support, self.unsure()
        of_class = [support.labels == c for c in range(support.n_way)]
        n, doubted = (
            min(COLUMNS, max(int(own.sum()) for own in of_class)),
            int(unsure.sum()),
        )
        rows = [
            images.strip(support.images[own][:n], n=n, framed=unsure[own][:n])
            for own in of_class
        ]
        words = f"support images of task {self.task}, {doubted} framed"
        picture = images.html_image(torch.cat(rows, dim=1), words, style="max-width:100%")
        return (
            f'<figure style="margin:8px 0">{picture}'
            f"<figcaption>Support images, a row for each class. Framed: by the class means of "
            f"the others its own class is less likely than by chance, 1 in {support.n_way} "
            f"({doubted} of {len(unsure)} images).</figcaption></figure>"
        )

    def clicked(self, trace: go.Scatter, place: int) -> None:
        """The knot of a point of a line is chosen."""
        if trace.name in (PATH, LOSS, ACCURACY):
            self.knot = place

    def figure(self) -> Figure:
        """Left the plane; right loss and accuracy against t; the chosen knot in all three."""
        flat, times, at = self.flat(), self.data.times, [self.knot]
        curves = {
            PATH: flat.T,
            LOSS: (times, self.data.losses[self.task]),
            ACCURACY: (times, torch.tensor(self.accuracies())),
        }
        look = {"legendgroup": HERE, "marker_line": {"color": "black", "width": 1}}
        look |= {"marker_symbol": "diamond", "hoverinfo": "skip", "size": 15}
        plane, loss, accuracy = (
            [
                figures.line(name, number, x, y, mode="lines+markers"),
                figures.spots(HERE, 3, x[at], y[at], showlegend=name == PATH, **look),
            ]
            for number, (name, (x, y)) in enumerate(curves.items())
        )
        others = {"width": 1, "opacity": 0.6, "hoverinfo": "skip"}
        plane.insert(0, figures.line(OTHERS, None, *fields.bundle(self.others()), **others))
        plane.insert(2, figures.ring(START, *flat[:1].T))
        end = "t (0: pre-trained, 1: fine-tuned)"
        return figures.panels(
            plane,
            loss,
            accuracy,
            x=["component 1", *({"range": [-0.03, 1.03], "title": x} for x in ("", end))],
            y=[
                {"title": "component 2", "scaleanchor": "x"},
                {"title": LOSS, "rangemode": "tozero"},
                {"title": ACCURACY, "tickformat": ".0%"},
            ],
            widths=[0.56, 0.44],
            height=520,
        )
