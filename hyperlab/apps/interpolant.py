"""Explore what lies between the knots of a recorded fine-tuning: three paths, one flow."""

import torch
import traitlets as tr
from jaxtyping import Float
from torch import Tensor

from hyperlab import interpolants, solvers
from hyperlab.apps.state import Choice, Figure, State, Whole
from hyperlab.base import ConfigError
from hyperlab.views import figures
from hyperlab.views.projection import Plane

TIP = {"symbol": "arrow", "angleref": "previous", "size": [0, 16], "color": "black"}
FOLLOW = (0, 4, 8, 16, 32, 64)  # Euler steps along the path's own velocity; 0: none


class InterpolantState(State):
    """A finely recorded flow, and the path that an interpolant makes of few of its knots.

    Args:
        truth: the flow at equal distances from t = 0 to t = 1.
        velocities: d theta/dt of the flow at the same times.
    """

    name = "interpolant"
    kind = Choice("path", tuple(interpolants.KINDS), "cubic", look="buttons")
    pieces = Choice("pieces", lambda s: s.choices)
    follow = Choice("Euler steps", FOLLOW)
    moment = Whole("time, place", high=lambda s: s.last, look="box")  # in `truth`
    time = Whole("time", high=lambda s: s.last)  # the same, to be drawn along
    rows = (("kind", "pieces", "follow"), ("moment", "time"))
    SHARED = ("kind", "pieces", "follow", "moment")

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
        self.truth, self.velocities, self.last = truth, velocities, len(truth) - 1
        super().__init__()
        self.times = torch.linspace(0, 1, len(truth), dtype=truth.dtype)
        self.plane = Plane.fit(truth)
        self.way = float((truth[-1] - truth[0]).norm())
        self.pieces = pieces
        self.moment = self.last // 3
        tr.link((self, "moment"), (self, "time"))

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of pieces whose knots are recorded states."""
        return tuple(k for k in range(1, self.last // 2 + 1) if self.last % k == 0)

    @property
    def stride(self) -> int:
        return self.last // self.pieces

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

    def figure(self) -> Figure:
        """Left the plane of the flow, right the distance from it in all dimensions."""
        show, fine, path, now = self.plane.to_plane, self.times, self.path(), [self.moment]
        place, errors = path.evaluate(fine[now]), self.errors().clamp(min=1e-9)
        arrow = self.plane.arrows(self.velocity()[None]) * 0.25
        arrow, marked = torch.cat([show(place), show(place) + arrow]).T, "lines+markers"
        plane = [
            figures.line("the flow", 0, *show(self.truth).T, width=5),
            figures.line("interpolant", 1, *show(path.evaluate(fine)).T),
            figures.spots("knots", 1, *show(path.thetas).T),
            figures.line("velocity", "black", *arrow, mode=marked).update(marker=TIP),
            figures.line("Euler", 2, *show(self.followed()).T, mode=marked),
        ]
        look = {"showlegend": False, "line_dash": "solid", "marker_symbol": "circle"}
        distance = [
            figures.line("distance", 1, fine, errors, **look),
            figures.spots("now", 3, fine[now], errors[now], size=11, **look),
        ]
        share = self.plane.variance(self.truth)
        off = {"title": "distance / whole way", "type": "log", "range": [-6, 0]}
        return figures.panels(
            plane,
            distance,
            x=[f"component 1 (the plane shows {share:.1%} of the flow)", "t"],
            y=["component 2", off],
            widths=[0.58, 0.42],
        )
