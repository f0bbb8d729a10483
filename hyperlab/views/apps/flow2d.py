"""Follow a gradient flow in the plane by steps of any size, with any solver."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab import interpolants, solvers
from hyperlab.views import figures
from hyperlab.views.apps.buttons import button
from hyperlab.views.apps.frame import App
from hyperlab.views.apps.jobs import Turn, at_once

MOST_STEPS = 512  # to the end of the flow
MOST_KEPT = 3  # paths that stay for comparison
MARKERS = 40  # of a path: hundreds would slow down a run
PACES = (1, 2, 5, 15)  # steps a second of a run


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """A loss of two parameters, where its flow starts, how long it runs, what is shown."""

    loss: Callable[[Tensor], Tensor]
    start: Float[Tensor, " 2"]
    t_end: float  # learning rate times number of steps
    box: tuple[float, float, float, float]  # left, right, bottom, top

    def velocity(self, t: Tensor, theta: Tensor) -> Tensor:
        """-grad L(theta), the same at every time."""
        return -torch.func.grad(self.loss)(theta)

    def losses(self, thetas: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
        """The loss at many points."""
        return torch.vmap(self.loss)(thetas.reshape(-1, 2)).reshape(thetas.shape[:-1])


class Kept(NamedTuple):
    """A path that stays for comparison."""

    label: str
    path: Float[Tensor, " knots 2"]
    step_size: float


class GradientFlow(tr.HasTraits):
    """What the reader can change, and what follows from it."""

    SHARED = ("method", "step_size", "steps", "pace")

    step_size = tr.Float()
    method = tr.Enum(tuple(solvers.STEPS), "euler")
    steps = tr.Int(min=0)
    pace = tr.Enum(PACES, 5)  # steps a second of a run
    kept = tr.Tuple()  # the newest first

    def __init__(self, landscape: Landscape, *, step_size: float) -> None:
        super().__init__()
        self.landscape = landscape
        self.truth = solvers.solve(
            landscape.velocity,
            landscape.start,
            steps=400,
            method="rk4",
            t_end=landscape.t_end,
        )
        self._walked: object = None  # method and step size of
        self._way = landscape.start[None]  # all steps taken so far
        self.step_size = step_size

    @tr.validate("step_size")
    def _within_reach(self, proposal: dict) -> float:
        smallest = self.landscape.t_end / MOST_STEPS
        return min(max(proposal["value"], smallest), self.landscape.t_end)

    @tr.observe("step_size", "method")
    def to_the_end(self, _: object = None) -> None:
        """As many steps as the flow is long."""
        self.steps = math.ceil(self.landscape.t_end / self.step_size - 1e-9)

    @property
    def at_end(self) -> bool:
        return self.time >= self.landscape.t_end * (1 - 1e-9)

    def advance(self) -> None:
        """One step more, while the flow lasts; after its end, from the start again."""
        self.steps = 1 if self.at_end else self.steps + 1

    async def run(self, turn: Turn = at_once) -> None:
        """Step after step to the end of the flow, each in its turn; from there, from the start.

        Ends early where a setting is changed meanwhile.
        """
        self.steps = 0 if self.at_end else self.steps
        while not self.at_end:
            here = self.method, self.step_size, self.steps
            await turn()
            if here != (self.method, self.step_size, self.steps):
                return
            self.advance()

    def keep(self) -> None:
        """Let this path stay while others are tried."""
        label = f"{self.method}, step {self.step_size:.4g}"
        self.kept = (Kept(label, self.path(), self.step_size), *self.kept)[:MOST_KEPT]

    def forget(self) -> None:
        """Clear the paths that were kept."""
        self.kept = ()

    @property
    def time(self) -> float:
        return self.steps * self.step_size

    @property
    def gradients(self) -> int:
        return self.steps * solvers.NFE[self.method]

    def path(self) -> Float[Tensor, " knots 2"]:
        """The states so far; NaN where they have left the picture for good."""
        way = self._walk()[: self.steps + 1]
        return way.where(way.norm(dim=1, keepdim=True) < 1e6, torch.nan)

    def _walk(self) -> Float[Tensor, " knots 2"]:
        # A step of a run costs one step of the solver, not all from the start again.
        land, settings = self.landscape, (self.method, self.step_size)
        if settings != self._walked:
            self._walked, self._way = settings, land.start[None]
        if (n := self.steps + 1 - len(self._way)) > 0:
            how = {"steps": n, "method": self.method, "t_end": n * self.step_size}
            more = solvers.solve(land.velocity, self._way[-1], **how)
            self._way = torch.cat([self._way, more[1:]])
        return self._way

    def read_out(self) -> str:
        """The same in words."""
        end, flow = self.path()[-1], self._flow_at(self.time)
        done = f"{self.method}, step size {self.step_size:.4g}: {self.steps} steps, "
        done += f"{self.gradients} gradients, t = {self.time:.3g}. "
        if not end.isfinite().all():
            return done + "The path has left the picture: this step is too large."
        loss, flow_loss = self.landscape.losses(torch.stack([end, flow])).tolist()
        away = float((end - flow).norm())
        return done + f"Loss {loss:.4f}, of the flow {flow_loss:.4f}; {away:.3f} apart."

    def _flow_at(self, time: float) -> Tensor:
        times = torch.linspace(0, 1, len(self.truth), dtype=self.truth.dtype)
        record = interpolants.PiecewiseLinear(times, self.truth)
        return record.evaluate(times.new_tensor([min(time / self.landscape.t_end, 1.0)]))[0]


def figure_of(state: GradientFlow) -> go.Figure:
    """Left the plane with the flow and the path, right the loss of both against time."""
    land = state.landscape
    xs = torch.linspace(*land.box[:2], 60).to(land.start)
    ys = torch.linspace(*land.box[2:], 60).to(land.start)
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
    plane = figures.landscape(xs, ys, land.losses(grid).log10(), name="log10 loss")
    plane.update_traces(showscale=False, selector={"type": "contour"})
    figures.path_2d(state.truth, name="gradient flow", on=plane)
    figures.path_2d(state.path(), name="steps", on=plane)
    figure = make_subplots(cols=2, column_widths=[0.6, 0.4], horizontal_spacing=0.14)
    figure.add_traces(plane.data, rows=1, cols=1)
    flow_times = torch.linspace(0, land.t_end, len(state.truth))
    curves = {"gradient flow": (flow_times, land.losses(state.truth))}
    curves["steps"] = _curve(land, state.path(), state.step_size)
    right = figures.lines(curves, x_title="t", y_title="loss")
    figure.add_traces([t.update(showlegend=False) for t in right.data], rows=1, cols=2)
    for number in range(MOST_KEPT):
        for col in (1, 2):
            figure.add_trace(_slot(number, named=col == 1), row=1, col=col)
    figure.update_traces(marker_maxdisplayed=MARKERS, selector={"name": "steps"})
    figure.update_layout(template=figures.TEMPLATE)
    figure.update_xaxes(title="parameter 1", range=land.box[:2], col=1)
    figure.update_yaxes(title="parameter 2", range=land.box[2:], col=1)
    figure.update_xaxes(title="t = step size x steps", range=[0, land.t_end], col=2)
    figure.update_yaxes(title="loss", type="log", nticks=3, col=2)
    draw(figure, state)
    return figure


def _curve(land: Landscape, path: Tensor, step_size: float) -> tuple[Tensor, Tensor]:
    """Times and losses of a path."""
    return torch.arange(len(path)) * step_size, land.losses(path)


def _slot(number: int, *, named: bool) -> go.Scatter:
    """An empty trace for a path that is kept."""
    colour, dash = figures.OKABE_ITO[number + 2], figures.DASHES[number + 2]
    return go.Scatter(
        x=[],
        y=[],
        name="",
        meta=f"kept {number}",
        mode="lines+markers",
        line={"color": colour, "dash": dash, "width": 2},
        marker={"color": colour, "symbol": figures.MARKERS[number + 2], "size": 5},
        opacity=0.7,
        showlegend=named,
        visible=False,
    )


def draw(figure: BaseFigure, state: GradientFlow) -> None:
    """Bring the path and those that are kept in line with the state."""
    slots = [[t for t in figure.data if t.meta == f"kept {n}"] for n in range(MOST_KEPT)]
    with figure.batch_update():
        for number, (x, y) in moving(figure, state).items():
            figure.data[number].update(x=x, y=y)
        for pair, one in zip(slots, state.kept, strict=False):
            points = _points(state.landscape, one.path, one.step_size)
            for trace, (x, y) in zip(pair, points, strict=True):
                trace.update(x=x, y=y, name=one.label, visible=True)
        for trace in (trace for pair in slots[len(state.kept) :] for trace in pair):
            trace.update(x=[], y=[], name="", visible=False)


def moving(figure: BaseFigure, state: GradientFlow) -> dict[int, Float[np.ndarray, "2 n"]]:
    """Number of a trace -> its points, for the two that a step changes."""
    numbers = [n for n, trace in enumerate(figure.data) if trace.name == "steps"]
    points = _points(state.landscape, state.path(), state.step_size)
    return dict(zip(numbers, points, strict=True))


def _points(
    land: Landscape, path: Float[Tensor, " knots 2"], step_size: float
) -> tuple[np.ndarray, np.ndarray]:
    """Of a path in the plane, and of its curve."""
    curve = torch.stack(_curve(land, path, step_size))
    return path.float().numpy().T, curve.float().numpy()


def gradient_flow(state: GradientFlow, *, seed: int = 0) -> App:
    """Halve and double the step, walk step by step, change the solver, keep paths to compare."""
    view, words = figures.live(figure_of(state)), w.HTML()
    size = w.BoundedFloatText(min=0, max=1e6, description="step size")
    solver = w.ToggleButtons(options=list(solvers.STEPS), description="solver")
    pace = w.Dropdown(options=PACES, description="steps a second")
    pace.style.description_width = "initial"
    for name, control in {"step_size": size, "method": solver, "pace": pace}.items():
        tr.link((state, name), (control, "value"))
    acts = {
        "Halve the step": lambda: state.set_trait("step_size", state.step_size / 2),
        "Double the step": lambda: state.set_trait("step_size", state.step_size * 2),
        "Reset": lambda: state.set_trait("steps", 0),
        "Step": state.advance,
        "To the end": state.to_the_end,
        "Keep": state.keep,
        "Forget": state.forget,
        "Pause": lambda: None,
    }
    buttons = [button(name, lambda act=act: app.press(act)) for name, act in acts.items()]
    run = button("Run", lambda: app.play())

    rows = [
        [size, solver],
        buttons[:2],
        [*buttons[2:5], run, buttons[-1], *buttons[5:7], pace],
    ]
    app = App("gradient_flow", state, rows=rows, views=[view, words], seed=seed)

    def redraw(_: object = None) -> None:
        around = state.method, state.step_size
        app.show(lambda: draw(view, state), lambda: moving(view, state), around=around)
        words.value = state.read_out()

    state.observe(redraw, ["steps", "step_size", "method", "kept"])
    redraw()
    return app
