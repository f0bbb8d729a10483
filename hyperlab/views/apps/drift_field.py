"""The learned drift of one task in a linear plane: move through time, compare L and C."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hyperlab import solvers
from hyperlab.base import ConfigError, Velocity, choose
from hyperlab.interpolants import Interpolant
from hyperlab.views import figures
from hyperlab.views.apps.buttons import button
from hyperlab.views.apps.frame import App
from hyperlab.views.projection import Plane

MOMENTS = 20  # steps of the slider and of the roll-outs, from t = 0 to 1
REACH = 0.15  # an arrow is as long as the way in this part of the time
GRID = (11, 9)  # arrows of the field across and up
RECORD, ROLLOUT = "recorded path", "own roll-out"
# name -> Okabe-Ito number (None: grey), dash and width
LOOKS = {
    "drift across the plane": (None, "solid", 1.2),
    "recorded path": (1, "dash", 2),
    "roll-out": (0, "solid", 2),
    "true drift": (1, "solid", 4),
    "predicted drift": (0, "solid", 4),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One task: for each objective, the path it was to learn and the drift it learned.

    Args:
        paths: objective -> recorded path, one curve.
        drifts: objective -> f(t, theta) with the support set bound.
    """

    name: str
    paths: Mapping[str, Interpolant]
    drifts: Mapping[str, Velocity]

    def __post_init__(self) -> None:
        if set(self.paths) != set(self.drifts) or not self.paths:
            raise ConfigError(
                f"{self.name}: paths of {sorted(self.paths)}, drifts of {sorted(self.drifts)}; "
                "each objective needs both"
            )

    @property
    def theta0(self) -> Float[Tensor, " params"]:
        return next(iter(self.paths.values())).thetas[0]


class DriftField(tr.HasTraits):
    """What the reader can change, and the vectors that follow from it."""

    SHARED = ("scene", "objective", "along", "moment")

    scene = tr.Unicode()
    objective = tr.Unicode()
    moment = tr.Int(0, min=0, max=MOMENTS)
    along = tr.Enum((RECORD, ROLLOUT), RECORD)

    def __init__(self, scenes: Sequence[Scene]) -> None:
        super().__init__()
        self.scenes = {scene.name: scene for scene in scenes}
        self._rollouts: dict[tuple[str, str], Tensor] = {}
        first = scenes[0]
        self.scene, self.objective = first.name, next(iter(first.paths))

    @tr.observe("scene")
    def _enter(self, _: object) -> None:
        scene, theta0 = self.here, self.here.theta0
        runs = [self.rollout(objective) for objective in scene.paths]
        recorded = [self.recorded(objective) for objective in scene.paths]
        self.plane = Plane.fit(torch.cat([*runs, *recorded]), origin=theta0)

    @property
    def here(self) -> Scene:
        return choose(self.scenes, self.scene)

    @property
    def t(self) -> Float[Tensor, ""]:
        return torch.tensor(self.moment / MOMENTS)

    def rollout(self, objective: str) -> Float[Tensor, " knots params"]:
        """Where the drift alone leads."""
        if (self.scene, objective) not in self._rollouts:
            drift = choose(self.here.drifts, objective)
            run = solvers.solve(drift, self.here.theta0, steps=MOMENTS, method="chebyshev")
            self._rollouts[self.scene, objective] = run
        return self._rollouts[self.scene, objective]

    def recorded(self, objective: str) -> Float[Tensor, " knots params"]:
        """The path that the objective was to learn."""
        times = torch.linspace(0, 1, MOMENTS + 1)
        return choose(self.here.paths, objective).evaluate(times)

    @property
    def theta(self) -> Float[Tensor, " params"]:
        """Where we are at this moment."""
        path = self.recorded if self.along == RECORD else self.rollout
        return path(self.objective)[self.moment]

    @property
    def true(self) -> Float[Tensor, " params"]:
        """The velocity of the recorded path at this moment."""
        return self.here.paths[self.objective].derivative(self.t[None])[0]

    @property
    def predicted(self) -> Float[Tensor, " params"]:
        """The learned drift at this moment, where we are."""
        return self.here.drifts[self.objective](self.t, self.theta)

    def box(self) -> tuple[Tensor, Tensor]:
        """Lower left and upper right of what is shown, in plane coordinates."""
        paths = [f(o) for o in self.here.paths for f in (self.recorded, self.rollout)]
        places = self.plane.to_plane(torch.cat(paths))
        low, high = places.amin(0), places.amax(0)
        margin = 0.2 * (high - low).max()
        return low - margin, high + margin

    def field(self) -> tuple[Float[Tensor, " n 2"], Float[Tensor, " n 2"]]:
        """Grid points and the drift there, all at the distance of theta from the plane."""
        sides = [torch.linspace(a, b, n) for a, b, n in zip(*self.box(), GRID, strict=True)]
        places = torch.cartesian_prod(*sides)
        away = places - self.plane.to_plane(self.theta)
        thetas = self.theta + away @ self.plane.axes
        drift = self.here.drifts[self.objective]
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that torch.vmap knows
            velocities = torch.vmap(drift, in_dims=(None, 0))(self.t, thetas)
        return places, self.plane.arrows(velocities)

    def curves(self) -> dict[str, Float[Tensor, " n 2"]]:
        """Trace name -> its points, for everything that is drawn."""
        here = self.plane.to_plane(self.theta)[None]
        pair = self.plane.arrows(torch.stack([self.true, self.predicted])) * REACH
        places, field = self.field()
        return {
            "drift across the plane": figures.strokes(places, field * REACH),
            "recorded path": self.plane.to_plane(self.recorded(self.objective)),
            "roll-out": self.plane.to_plane(self.rollout(self.objective)),
            "true drift": figures.strokes(here, pair[:1]),
            "predicted drift": figures.strokes(here, pair[1:]),
        }

    def measures(self) -> dict[str, float]:
        """In the whole parameter space: error, cosine; and the shares that the plane shows."""
        true, predicted = self.true, self.predicted
        return {
            "error": float((predicted - true).norm() / true.norm().clamp(min=1e-30)),
            "cosine": float(torch.cosine_similarity(predicted, true, dim=0)),
            "shown_true": float(self.plane.share(true)),
            "shown_predicted": float(self.plane.share(predicted)),
        }

    def read_out(self) -> str:
        """The same in words."""
        m, where = self.measures(), "the" if self.along == RECORD else "its"
        return (
            f"{self.scene}, objective {self.objective}, t = {float(self.t):.2f} on "
            f"{where} {self.along}. In all {len(self.theta):,} dimensions: relative error "
            f"of the drift {m['error']:.2f}, cosine {m['cosine']:.2f}. The plane shows "
            f"{m['shown_predicted']:.0%} of the predicted drift's length and "
            f"{m['shown_true']:.0%} of the true one's."
        )


def figure_of(state: DriftField) -> go.Figure:
    """The plane, with the same length for the same distance both ways."""
    figure = go.Figure(layout={"template": figures.TEMPLATE, "height": 560})
    for name, (number, dash, width) in LOOKS.items():
        colour = figures.GREY if number is None else figures.OKABE_ITO[number]
        look = {"color": colour, "dash": dash, "width": width}
        figure.add_scatter(x=[], y=[], name=name, mode="lines", line=look)
    start = {"size": 13, "symbol": "circle-open", "color": "black", "line": {"width": 3}}
    figure.add_scatter(x=[0], y=[0], name="t = 0", mode="markers", marker=start)
    figure.update_xaxes(title="component 1")
    figure.update_yaxes(title="component 2", scaleanchor="x")
    draw(figure, state)
    return figure


def draw(figure: BaseFigure, state: DriftField) -> None:
    """Give every trace its points."""
    curves = state.curves()
    low, high = state.box()
    with figure.batch_update():
        for trace in figure.data:
            if trace.name in curves:
                trace.x, trace.y = curves[trace.name].T.numpy()
        figure.update_xaxes(range=[float(low[0]), float(high[0])])
        figure.update_yaxes(range=[float(low[1]), float(high[1])])


def drift_field(state: DriftField, *, seed: int = 0) -> App:
    """Choose a task and an objective, move through time, on the recorded path or off it."""
    view, words = figures.live(figure_of(state)), w.HTML()
    scene = w.Dropdown(options=list(state.scenes), description="task")
    objective = w.ToggleButtons(options=list(state.here.paths), description="objective")
    along = w.ToggleButtons(options=[RECORD, ROLLOUT], description="theta on the")
    moment = w.IntSlider(min=0, max=MOMENTS, description=f"t x {MOMENTS}")
    controls = {"scene": scene, "objective": objective, "along": along, "moment": moment}
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))
    actions = {
        "Start": lambda: state.set_trait("moment", 0),
        "Earlier": lambda: state.set_trait("moment", max(state.moment - 1, 0)),
        "Later": lambda: state.set_trait("moment", min(state.moment + 1, MOMENTS)),
        "End": lambda: state.set_trait("moment", MOMENTS),
    }
    buttons = [button(name, act) for name, act in actions.items()]

    def redraw(_: object = None) -> None:
        draw(view, state)
        words.value = state.read_out()

    state.observe(redraw, list(controls))
    redraw()
    rows = [[scene, objective], [along], [moment, *buttons]]
    return App("drift_field", state, rows=rows, views=[view, words], seed=seed)
