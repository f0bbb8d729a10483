"""Heads drawn for one task: how well they do, and what the support set says of them."""

from typing import NamedTuple

import ipywidgets as w
import plotly.graph_objects as go
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from torch import Tensor

from hyperlab.base import ConfigError, stream
from hyperlab.study import heads
from hyperlab.views import figures
from hyperlab.views.apps.frame import App
from hyperlab.weights.head_generators import HeadGenerator

OWN, OTHER = "its own", "another task's"
SAMPLES, CHOSEN = "drawn heads", "chosen by the support"
PROTOTYPES, FITTED, MEAN = "prototypes", "fitted to the support", "mean of the drawn heads"
STEPS = 10  # of the solver


class Drawn(NamedTuple):
    """What heads do on a task: the smaller the support loss, the better they fit what we have."""

    loss: Float[Tensor, " heads"]
    accuracy: Float[Tensor, " heads"]


class HeadState(tr.HasTraits):
    """A task, how many heads are drawn for it, and how many of them the support chooses.

    Args:
        made: draws heads.
        support, query: features of some tasks, classes apart.
        names: of the tasks, e.g. their domains.

    Raises:
        ConfigError: fewer than two tasks, or not as many of everything.
    """

    SHARED = ("task", "told", "n", "top", "seed")

    task = tr.Int(0, min=0)
    n = tr.Int(20, min=1, max=100)  # heads drawn
    top = tr.Int(3, min=1)  # heads chosen
    told = tr.Enum((OWN, OTHER), OWN)  # whose support set the generator is told
    seed = tr.Int(0, min=0)

    def __init__(
        self,
        made: HeadGenerator,
        support: Float[Tensor, " tasks way shots dim"],
        query: Float[Tensor, " tasks way n dim"],
        names: list[str],
    ) -> None:
        if not 2 <= len(support) == len(query) == len(names):
            raise ConfigError(
                f"want two or more tasks, each with support, query and name, got "
                f"{len(support)}, {len(query)}, {len(names)}"
            )
        super().__init__()
        self.made, self.support, self.query, self.names = made, support, query, names

    @tr.validate("task")
    def _there(self, proposal: dict) -> int:
        if proposal["value"] >= len(self.support):
            raise ConfigError(
                f"tasks 0 to {len(self.support) - 1}, got {proposal['value']}"
            )
        return proposal["value"]

    def heads(self) -> Float[Tensor, " heads way row"]:
        """Those drawn for the task."""
        one, other = self.task, (self.task + 1) % len(self.support)
        about = self.support[[other if self.told == OTHER else one]]
        generator = stream(self.seed, "head comparison", self.task)
        how = {"generator": generator, "steps": STEPS, "about": about}
        return self.made.sample(self.support[[one]], self.n, **how)[0]

    def judge(self, rows: Float[Tensor, " heads way row"]) -> Drawn:
        """Support loss and query accuracy of some heads on whitened features."""
        support, query = (
            self.made.whiten(part[[self.task]]) for part in (self.support, self.query)
        )
        return Drawn(
            heads.support_loss(rows, support), heads.correct(heads.answers(rows, query))
        )

    def found(self) -> tuple[Drawn, dict[str, Drawn]]:
        """The drawn heads, and those they are held against."""
        drawn = self.heads()
        one = self.support[[self.task]]
        start = heads.tell(self.made.whiten(one), self.made.base)[1]
        others = {FITTED: self.judge(start), MEAN: self.judge(drawn.mean(0, keepdim=True))}
        return self.judge(drawn), others

    def prototypes(self) -> float:
        """Accuracy of the class means, as the target has them."""
        return float(heads.cosines(self.support[[self.task]], self.query[[self.task]])[0])

    def best(self, drawn: Drawn) -> Tensor:
        """The heads that the support chooses."""
        return drawn.loss.argsort()[: self.top]

    def read_out(self) -> str:
        """The picture in words and numbers."""
        drawn, others = self.found()
        best = drawn.accuracy[self.best(drawn)].mean()
        few = min(self.top, self.n)
        return (
            f"Task {self.task} ({self.names[self.task]}), told {self.told} support: "
            f"{self.n} heads, mean {drawn.accuracy.mean():.1%}, {few} chosen by the support "
            f"{best:.1%}, best {few} by the queries "
            f"{drawn.accuracy.topk(few).values.mean():.1%}; their mean head "
            f"{others[MEAN].accuracy.item():.1%}. Fitted to the support "
            f"{others[FITTED].accuracy.item():.1%}, prototypes {self.prototypes():.1%}."
        )


def figure_of(state: HeadState) -> go.Figure:
    """Every head by its support loss and its accuracy on the queries."""
    figure = go.Figure()
    looks = {
        SAMPLES: (figures.GREY, "circle"),
        CHOSEN: (figures.OKABE_ITO[1], "circle-open"),
        FITTED: (figures.OKABE_ITO[0], "square"),
        MEAN: (figures.OKABE_ITO[3], "diamond"),
    }
    for name, (colour, symbol) in looks.items():
        marker = {"color": colour, "symbol": symbol, "size": 14 if name != SAMPLES else 8}
        figure.add_scatter(name=name, mode="markers", marker=marker)
    line = {"color": figures.OKABE_ITO[2], "dash": figures.DASHES[1]}
    figure.add_scatter(name=PROTOTYPES, mode="lines", line=line)
    figure.update_xaxes(title="loss on the support images, nats", rangemode="tozero")
    figure.update_yaxes(title="accuracy on the queries", range=[0, 1], tickformat=".0%")
    figure.update_layout(template=figures.TEMPLATE, height=430)
    draw(figure, state)
    return figure


def draw(figure: BaseFigure, state: HeadState) -> None:
    """Bring the traces in line with the state."""
    drawn, others = state.found()
    best = state.best(drawn)
    points = {
        SAMPLES: drawn,
        CHOSEN: Drawn(drawn.loss[best], drawn.accuracy[best]),
        **others,
    }
    traces = {trace.name: trace for trace in figure.data}
    with figure.batch_update():
        for name, some in points.items():
            traces[name].x, traces[name].y = some.loss.numpy(), some.accuracy.numpy()
        far = max(float(some.loss.max()) for some in points.values())
        traces[PROTOTYPES].x, traces[PROTOTYPES].y = [0, far], [state.prototypes()] * 2


def head_comparison(state: HeadState, *, seed: int = 0) -> App:
    """The app of notebook 15: choose a task, draw heads for it, let the support choose."""
    view, words = figures.live(figure_of(state)), w.HTML()
    style = {"style": {"description_width": "initial"}}
    tasks = [(f"{i} {name}", i) for i, name in enumerate(state.names)]
    controls = {
        "task": w.Dropdown(options=tasks, description="task", **style),
        "told": w.ToggleButtons(options=[OWN, OTHER], description="support told", **style),
        "n": w.IntSlider(min=1, max=100, description="heads drawn", **style),
        "top": w.IntSlider(min=1, max=20, description="heads chosen", **style),
        "seed": w.BoundedIntText(min=0, max=9_999, description="seed", **style),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))

    def redraw(_: object = None) -> None:
        draw(view, state)
        words.value = state.read_out()

    state.observe(redraw, list(controls))
    redraw()
    rows = [[controls[k] for k in row] for row in (("task", "told"), ("n", "top", "seed"))]
    return App("head_comparison", state, rows=rows, views=[view, words], seed=seed)
