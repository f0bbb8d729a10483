"""The learned drift of one task in a linear plane: move through time, compare networks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from hyperlab import solvers
from hyperlab.apps.state import Choice, Figure, State, Whole, kept, setting
from hyperlab.base import ConfigError, Velocity
from hyperlab.interpolants import Interpolant
from hyperlab.views import figures
from hyperlab.views.projection import Plane

MOMENTS = 20  # steps of the slider and of the roll-outs, from t = 0 to 1
REACH = 0.15  # an arrow is as long as the way in this part of the time
GRID = (11, 9)  # arrows of the field across and up
RECORD, ROLLOUT = "recorded path", "own roll-out"


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One task: for each network, the path it was to learn and the drift it learned.

    Args:
        paths: network -> recorded path, one curve.
        drifts: network -> f(t, theta) with the support set bound.
    """

    name: str
    paths: Mapping[str, Interpolant]
    drifts: Mapping[str, Velocity]

    def __post_init__(self) -> None:
        if set(self.paths) != set(self.drifts) or not self.paths:
            raise ConfigError(
                f"{self.name}: paths of {sorted(self.paths)}, drifts of {sorted(self.drifts)}; "
                "each network needs both"
            )

    @property
    def theta0(self) -> Float[Tensor, " params"]:
        return next(iter(self.paths.values())).thetas[0]


class DriftField(State):
    """What the reader can change, and the vectors that follow from it."""

    name = "drift_field"
    scene = Choice("task", lambda s: list(s.scenes))
    network = Choice("network", lambda s: list(s.current.paths), look="buttons")
    along = Choice("theta on the", (RECORD, ROLLOUT), look="buttons")
    moment = Whole(f"t x {MOMENTS}", high=MOMENTS)
    start, end = setting("Start", moment=0), setting("End", moment=MOMENTS)
    earlier = setting("Earlier", moment=lambda s: max(s.moment - 1, 0))
    later = setting("Later", moment=lambda s: min(s.moment + 1, MOMENTS))
    rows = (
        ("scene", "network"),
        ("along",),
        ("moment", "start", "earlier", "later", "end"),
    )

    def __init__(self, scenes: Sequence[Scene]) -> None:
        super().__init__()
        self.scenes = {scene.name: scene for scene in scenes}

    @property
    def current(self) -> Scene:
        return self.scenes[self.scene]

    @property
    def t(self) -> Float[Tensor, ""]:
        return torch.tensor(self.moment / MOMENTS)

    @property
    @kept("scene")
    def plane(self) -> Plane:
        """Through theta0, of all paths and roll-outs of the task."""
        return Plane.fit(torch.cat(self._curves()), origin=self.current.theta0)

    def _curves(self) -> list[Float[Tensor, " knots params"]]:
        return [f(o) for f in (self.rollout, self.recorded) for o in self.current.paths]

    def rollout(self, network: str) -> Float[Tensor, " knots params"]:
        """Where the drift alone leads."""
        return self._rollouts()[network]

    @kept("scene")
    def _rollouts(self) -> dict[str, Float[Tensor, " knots params"]]:
        start, options = self.current.theta0, {"steps": MOMENTS, "method": "chebyshev"}
        drifts = self.current.drifts.items()
        return {name: solvers.solve(drift, start, **options) for name, drift in drifts}

    def recorded(self, network: str) -> Float[Tensor, " knots params"]:
        """The path that the network was to learn."""
        return self.current.paths[network].evaluate(torch.linspace(0, 1, MOMENTS + 1))

    @property
    def theta(self) -> Float[Tensor, " params"]:
        """Where we are at this moment."""
        path = self.recorded if self.along == RECORD else self.rollout
        return path(self.network)[self.moment]

    @property
    def true(self) -> Float[Tensor, " params"]:
        """The velocity of the recorded path at this moment."""
        return self.current.paths[self.network].derivative(self.t[None])[0]

    @property
    def predicted(self) -> Float[Tensor, " params"]:
        """The learned drift at this moment, where we are."""
        return self.current.drifts[self.network](self.t, self.theta)

    def box(self) -> tuple[Tensor, Tensor]:
        """Lower left and upper right of what is shown, in plane coordinates."""
        places = self.plane.to_plane(torch.cat(self._curves()))
        low, high = places.amin(0), places.amax(0)
        margin = 0.2 * (high - low).max()
        return low - margin, high + margin

    def field(self) -> tuple[Float[Tensor, " n 2"], Float[Tensor, " n 2"]]:
        """Grid points and the drift there, all at the distance of theta from the plane."""
        sides = [torch.linspace(a, b, n) for a, b, n in zip(*self.box(), GRID, strict=True)]
        places = torch.cartesian_prod(*sides)
        away = places - self.plane.to_plane(self.theta)
        thetas = self.theta + away @ self.plane.axes
        drift = self.current.drifts[self.network]
        with sdpa_kernel(SDPBackend.MATH):  # the only attention that torch.vmap knows
            velocities = torch.vmap(drift, in_dims=(None, 0))(self.t, thetas)
        return places, self.plane.arrows(velocities)

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
        m, where = self.measures(), "the" if self.along == RECORD else "its"
        return (
            f"{self.scene}, network {self.network}, t = {float(self.t):.2f} on "
            f"{where} {self.along}. In all {len(self.theta):,} dimensions: relative error "
            f"of the drift {m['error']:.2f}, cosine {m['cosine']:.2f}. The plane shows "
            f"{m['shown_predicted']:.0%} of the predicted drift's length and "
            f"{m['shown_true']:.0%} of the true one's."
        )

    def layout(self) -> dict[str, list[float]]:
        low, high = (end.tolist() for end in self.box())
        return {"xaxis_range": [low[0], high[0]], "yaxis_range": [low[1], high[1]]}

    def figure(self) -> Figure:
        """The plane, with the same length for the same distance both ways."""
        show, stroke = self.plane.to_plane, figures.strokes
        at, (places, field) = show(self.theta)[None], self.field()
        pair = self.plane.arrows(torch.stack([self.true, self.predicted])) * REACH
        field, thick = stroke(places, field * REACH).T, {"width": 4, "line_dash": "solid"}
        traces = [
            figures.line("drift across the plane", None, *field, width=1.2),
            figures.line("recorded path", 1, *show(self.recorded(self.network)).T),
            figures.line("roll-out", 0, *show(self.rollout(self.network)).T),
            figures.line("true drift", 1, *stroke(at, pair[:1]).T, **thick),
            figures.line("predicted drift", 0, *stroke(at, pair[1:]).T, **thick),
            figures.ring("t = 0", [0], [0]),
        ]
        up = {"title": "component 2", "scaleanchor": "x"}
        return figures.panels(traces, x=["component 1"], y=[up], height=560)
