"""Explore what lies between the knots of a recorded fine-tuning: three paths, one flow."""

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab import interpolants, solvers
from hyperlab.base import ConfigError
from hyperlab.views import figures
from hyperlab.views.apps.frame import App
from hyperlab.views.projection import Plane

_TIP = {"symbol": "arrow", "angleref": "previous", "size": [0, 16], "color": "black"}
FOLLOW = (0, 4, 8, 16, 32, 64)  # Euler steps along the path's own velocity; 0: none


class InterpolantState(tr.HasTraits):
    """A finely recorded flow, and the path that an interpolant makes of few of its knots.

    Args:
        truth: the flow at equal distances from t = 0 to t = 1.
        velocities: d theta/dt of the flow at the same times.
    """

    SHARED = ("kind", "pieces", "follow", "moment")

    kind = tr.Enum(tuple(interpolants.KINDS), "cubic")
    pieces = tr.Int()
    moment = tr.Int(min=0)  # place in `truth`
    follow = tr.Enum(FOLLOW, 0)

    def __init__(
        self,
        truth: Float[Tensor, " fine params"],
        velocities: Float[Tensor, " fine params"],
        *,
        pieces: int,
    ) -> None:
        if truth.shape != velocities.shape:
            raise ConfigError(
                f"one velocity per state: got {tuple(truth.shape)}, {tuple(velocities.shape)}"
            )
        super().__init__()
        self.truth, self.velocities = truth, velocities
        self.times = torch.linspace(0, 1, len(truth), dtype=truth.dtype)
        self.plane = Plane.fit(truth)
        self.way = float((truth[-1] - truth[0]).norm())
        self.pieces = pieces
        self.moment = (len(truth) - 1) // 3

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of pieces whose knots are recorded states."""
        n = len(self.truth) - 1
        return tuple(k for k in range(1, n // 2 + 1) if n % k == 0)

    @tr.validate("pieces")
    def _divides(self, proposal: dict) -> int:
        if proposal["value"] not in self.choices:
            raise ConfigError(f"{proposal['value']} pieces; possible are {self.choices}")
        return proposal["value"]

    @tr.validate("moment")
    def _within(self, proposal: dict) -> int:
        return min(max(proposal["value"], 0), len(self.truth) - 1)

    @property
    def stride(self) -> int:
        return (len(self.truth) - 1) // self.pieces

    def path(self) -> interpolants.Interpolant:
        """The chosen interpolant through the chosen knots."""
        kind = interpolants.KINDS[self.kind]
        return kind(self.times[:: self.stride], self.truth[:: self.stride])

    def errors(self) -> Float[Tensor, " fine"]:
        """Distance from the flow in all dimensions, as a share of the whole way."""
        return (self.path().evaluate(self.times) - self.truth).norm(dim=1) / self.way

    def velocity(self) -> Float[Tensor, " params"]:
        """Of the path, at the chosen moment."""
        return self.path().derivative(self.times[[self.moment]])[0]

    def followed(self) -> Float[Tensor, " knots params"]:
        """Where Euler's steps along the path's velocity lead; the start alone without steps."""
        if not self.follow:
            return self.truth[:1]
        path = self.path()
        drift = lambda t, x: path.derivative(t[None])[0]  # noqa: E731
        return solvers.solve(drift, self.truth[0], steps=self.follow)

    def read_out(self) -> str:
        """The picture in words and numbers."""
        v, true_v = self.velocity(), self.velocities[self.moment]
        cosine = float(torch.cosine_similarity(v, true_v, dim=0))
        off = float((v - true_v).norm() / true_v.norm())
        errors = self.errors()
        words = (
            f"{self.kind}, {self.pieces + 1} knots: at most {errors.max():.2%} of the way off "
            f"the flow. At t = {self.times[self.moment]:.2f}: {errors[self.moment]:.2%} off, "
            f"its velocity {off:.1%} off (cosine {cosine:.3f})."
        )
        if self.follow:
            gap = float((self.followed()[-1] - self.truth[-1]).norm()) / self.way
            words += f" {self.follow} Euler steps end {gap:.2%} of the way from its end."
        return words


def traces(state: InterpolantState) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> x and y of everything that moves when the state does."""
    show, fine, path = state.plane.to_plane, state.times, state.path()
    here = path.evaluate(fine[[state.moment]])
    arrow = state.plane.arrows(state.velocity()[None]) * 0.25
    curve = show(path.evaluate(fine)).T
    return {
        "interpolant": tuple(curve),
        "knots": tuple(show(path.thetas).T),
        "velocity": tuple(torch.cat([show(here), show(here) + arrow]).T),
        "Euler": tuple(show(state.followed()).T),
        "distance": (fine, state.errors().clamp(min=1e-9)),
        "now": (fine[[state.moment]], state.errors()[[state.moment]].clamp(min=1e-9)),
    }


def figure_of(state: InterpolantState) -> go.Figure:
    """Left the plane of the flow, right the distance from it in all dimensions."""
    figure = make_subplots(cols=2, column_widths=[0.58, 0.42], horizontal_spacing=0.14)
    xs, ys = state.plane.to_plane(state.truth).T.float().numpy()
    blue, orange, green, pink = figures.OKABE_ITO[:4]
    looks = {
        "interpolant": {"mode": "lines", "line": {"color": orange, "dash": "dash"}},
        "knots": {"mode": "markers", "marker": {"color": orange, "symbol": "square"}},
        "velocity": {"mode": "lines+markers", "line": {"color": "black"}, "marker": _TIP},
        "Euler": {"mode": "lines+markers", "line": {"color": green, "dash": "dot"}},
        "distance": {"mode": "lines", "line": {"color": orange}, "showlegend": False},
        "now": {"mode": "markers", "marker": {"color": pink, "size": 11}},
    }
    figure.add_scatter(
        x=xs, y=ys, name="the flow", line={"color": blue, "width": 5}, col=1, row=1
    )
    for name, (x, y) in traces(state).items():
        col = 2 if name in ("distance", "now") else 1
        x, y = x.float().numpy(), y.float().numpy()
        figure.add_scatter(x=x, y=y, name=name, **looks[name], col=col, row=1)
    share = state.plane.variance(state.truth)
    title = f"component 1 (the plane shows {share:.1%} of the flow)"
    figure.update_layout(template=figures.TEMPLATE)
    figure.update_xaxes(title=title, col=1).update_yaxes(title="component 2", col=1)
    figure.update_xaxes(title="t", col=2)
    label = "distance / whole way"
    return figure.update_yaxes(title=label, type="log", range=[-6, 0], col=2)


def interpolant_explorer(state: InterpolantState, *, seed: int = 0) -> App:
    """Choose the kind, the knots and the time; follow the path with Euler's steps."""
    view, words = figures.live(figure_of(state)), w.HTML()
    controls = {
        "kind": w.ToggleButtons(options=list(interpolants.KINDS), description="path"),
        "pieces": w.Dropdown(options=list(state.choices), description="pieces"),
        "follow": w.Dropdown(options=list(FOLLOW), description="Euler steps"),
        "moment": w.BoundedIntText(max=len(state.truth) - 1, description="time, place"),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))
    slider = w.IntSlider(max=len(state.truth) - 1, readout=False, description="time")
    tr.link((state, "moment"), (slider, "value"))

    def redraw(_: object = None) -> None:
        now = traces(state)
        with view.batch_update():
            for trace in view.data[1:]:
                trace.x, trace.y = (part.float().numpy() for part in now[trace.name])
        words.value = state.read_out()

    state.observe(redraw, list(controls))
    redraw()
    top = [controls["kind"], controls["pieces"], controls["follow"]]
    rows = [top, [controls["moment"], slider]]
    return App("interpolant", state, rows=rows, views=[view, words], seed=seed)
