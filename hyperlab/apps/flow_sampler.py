"""Watch points of the prior flow to networks: any solver, any number of steps, and how good."""

from functools import lru_cache
from typing import NamedTuple

import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from torch import Tensor

from hyperlab.apps.state import PACES, Choice, Figure, Points, Steps, Whole, button, setting
from hyperlab.base import ConfigError, Velocity, stream
from hyperlab.models.cnn import Network
from hyperlab.views import fields, figures
from hyperlab.views.projection import Plane
from hyperlab.weights.encoders import Encoder, ceiling
from hyperlab.weights.flow import Flow, follow
from hyperlab.weights.zoo import accuracies

N_SAMPLES = 16
Curve = tuple[Float[Tensor, " visited"], Float[Tensor, " visited"]]
METHODS = ("euler", "heun", "rk4", "adaptive")
ORIGINALS, DECODED = "originals' mean", "decoded originals' mean"
SAMPLES, PATHS, MEAN = "samples", "samples' paths", "samples' mean"
BEFORE = ("before 1", "before 2", "before 3")  # means of the last runs with other settings
NARROW = "170px"


class Place(NamedTuple):
    """How the samples flow, and how far they have come."""

    method: str
    steps: int
    seed: int
    knot: int


class SamplerState(Steps):
    """Sixteen samples of a flow and the time they have come to.

    Args:
        flow: in the encoder's codes, without a context.
        originals: networks to compare with, e.g. those that the flow was fitted to.
        data: images and labels that all networks are tried on; 300 images take 0.07 s a knot.
    """

    name = "flow_sampler"
    method = Choice("solver", METHODS).tag(width=NARROW)
    steps = Whole("steps to t = 1", 20, low=1, high=100)  # adaptive: only where we look
    seed = Whole("seed", high=9_999, look="box").tag(width=NARROW)  # of the starts
    pace = Choice("knots a second", PACES, PACES[1]).tag(width=NARROW)  # of a run
    knot = Whole("knot", high=lambda s: s.steps)  # steps taken
    reset = setting("Reset", "back to the prior, t = 0", knot=0)
    rows = (
        ("method", "steps", "seed", "pace"),
        ("step", "run", "pause", "reset", "knot"),
    )

    def __init__(
        self,
        flow: Flow,
        encoder: Encoder,
        architecture: Network,
        originals: Float[Tensor, " n params"],
        data: tuple[Tensor, Tensor],
    ) -> None:
        _check(flow, encoder, originals)
        super().__init__()
        self.flow, self.encoder, self.architecture = flow, encoder, architecture
        self.data = data
        self.ceiling = ceiling(architecture, encoder, originals, data)
        with torch.no_grad():
            self.codes = encoder.encode(originals).cpu()
        self.axes = Plane.fit(self.codes)
        self._solved = lru_cache(maxsize=16)(self._solve)
        self._measured: dict[Place, Tensor] = {}

    @tr.observe("steps")
    def _keep_time(self, change: dict) -> None:
        self.knot = round(self.knot / change["old"] * self.steps)

    @property
    def t(self) -> float:
        return self.knot / self.steps

    @property
    def place(self) -> Place:
        return Place(self.method, self.steps, self.seed, self.knot)

    @torch.no_grad()
    def _solve(
        self, method: str, steps: int, seed: int, until: float = 1.0
    ) -> tuple[Tensor, int]:
        """The codes at steps + 1 equal times from 0 to `until`, and the NFE."""
        start = self.flow.start(N_SAMPLES, stream(seed, "flow sampler"))
        velocity = _stretched(self.flow.given(), until)
        states, nfe = follow(velocity, start, steps=steps, method=method)
        return self.flow.from_unit(states), nfe

    def path(self) -> Float[Tensor, " knots n dim"]:
        """The codes from t = 0 to 1."""
        return self._solved(*self.place[:3])[0]

    def nfe(self) -> tuple[int, int]:
        """How often the velocity is asked up to here, and up to t = 1."""
        total = self._solved(*self.place[:3])[1]
        if self.method != "adaptive" or not self.knot:
            return self.knot * total // self.steps, total
        return self._solved(self.method, 1, self.seed, self.t)[1], total

    @torch.no_grad()
    def accuracies(self) -> Float[Tensor, " n"]:
        """Of every sample's network here; once measured they are kept."""
        place = self.place
        if place not in self._measured:
            networks = self.encoder.decode(self.path()[place.knot])
            values = accuracies(self.architecture, networks, *self.data)
            self._measured[place] = values.cpu()
        return self._measured[place]

    def curve(self) -> Curve:
        """Time and mean accuracy at the knots that have been visited, this one included."""
        self.accuracies()
        return self._curve(self.place)

    def _curve(self, of: Place) -> Curve:
        places = [of._replace(knot=knot) for knot in range(of.steps + 1)]
        seen = [place for place in places if place in self._measured]
        means = torch.stack([self._measured[place].mean() for place in seen])
        return torch.tensor([place.knot for place in seen]) / of.steps, means

    def before(self) -> dict[str, Curve]:
        """The same of the last runs with other settings, the newest first."""
        runs = dict.fromkeys(p._replace(knot=0) for p in reversed(self._measured))
        runs.pop(self.place._replace(knot=0), None)
        long = [run for run in runs if len(self._curve(run)[0]) > 1][: len(BEFORE)]
        return {f"{r.method}, {r.steps} steps, seed {r.seed}": self._curve(r) for r in long}

    def plane(self) -> tuple[Float[Tensor, " n 2"], Float[Tensor, " samples knots 2"]]:
        """The originals, and the samples' paths, in the plane of the originals' codes."""
        paths = self.axes.to_plane(self.path().cpu()).transpose(0, 1)
        return self.axes.to_plane(self.codes), paths

    @property
    def left(self) -> int:
        return self.steps - self.knot

    def position(self) -> Place:
        return self.place

    @button("Step", "one knot further")
    def step(self) -> None:
        self.knot = min(self.knot + 1, self.steps)

    def read_out(self) -> str:
        (asked, total), values = self.nfe(), self.accuracies()
        shown = [self.axes.variance(x) for x in (self.codes, self.path()[-1].cpu())]
        solver = f"{self.steps} steps of {self.method}"
        if self.method == "adaptive":
            solver = f"adaptive solver, seen at {self.steps} times"
        return (
            f"t = {self.t:.2f}, {solver}: {asked} of {total} evaluations of the velocity (NFE). "
            f"Accuracy of the {N_SAMPLES} samples: mean {values.mean():.1%}, best "
            f"{values.max():.1%}; of the originals: mean {self.ceiling.before.mean():.1%}, "
            f"decoded {self.ceiling.after.mean():.1%}. The plane shows "
            f"{shown[0]:.0%} of the variance of the originals' codes and {shown[1]:.0%} of "
            f"the finished samples'."
        )

    def around(self) -> object:
        return self.place._replace(knot=0)

    def moving(self) -> Points:
        paths, values = self.plane()[1], self.accuracies()
        return {
            PATHS: tuple(fields.bundle(paths[:, : self.knot + 1])),
            "left": (*paths[:, self.knot].T, values),
            "right": ([self.t] * N_SAMPLES, values, values),
            MEAN: self.curve(),
        }

    def traces(self) -> Points:
        past = [*self.before().items()] + [("", ((), ()))] * len(BEFORE)
        earlier = {
            slot: {"x": x, "y": y, "name": label, "showlegend": bool(label)}
            for slot, (label, (x, y)) in zip(BEFORE, past, strict=False)
        }
        return earlier | self.moving()

    def figure(self) -> Figure:
        """Left the samples on their way to the originals, right their accuracy against t."""
        mean = {"mode": "lines+markers", "marker_symbol": "diamond", "line_dash": "solid"}
        behind, hollow = {"opacity": 0.6, "showlegend": False}, {"opacity": 0.8}
        hollow |= {"marker_symbol": "circle-open"}
        left = [
            figures.spots("originals", None, *self.plane()[0].T, **hollow),
            figures.line(PATHS, 0, opacity=0.4, hoverinfo="skip"),
            _spots("left"),
        ]
        right = [
            figures.line(ORIGINALS, 1, [0, 1], [float(self.ceiling.before.mean())] * 2),
            figures.line(DECODED, 2, [0, 1], [float(self.ceiling.after.mean())] * 2),
            *(figures.line(x, k, meta=x, **behind) for k, x in enumerate(BEFORE, 4)),
            _spots("right"),
            figures.line(MEAN, 3, size=9, **mean),
        ]
        bar = {"thickness": 12, "len": 1, "ypad": 0, "tickformat": ".0%"}  # beside its axis
        return figures.panels(
            left,
            right,
            x=[
                "component 1 of the originals' codes",
                {"title": "t", "range": [-0.04, 1.04]},
            ],
            y=[
                {"title": "component 2", "scaleanchor": "x"},
                {"title": "accuracy"} | figures.SHARE,
            ],
            coloraxis={"colorscale": "Cividis", "cmin": 0, "cmax": 1, "colorbar": bar},
            height=480,
            margin_t=80,  # the legend takes two rows
        )


def _check(flow: Flow, encoder: Encoder, originals: Tensor) -> None:
    if (dim := len(flow.mean)) != encoder.latent or flow.context:
        raise ConfigError(
            f"want a flow without context in the encoder's codes of {encoder.latent} numbers, "
            f"got one of {dim} numbers and a context of {flow.context}"
        )
    if len(originals) < 3 or dim < 2:
        raise ConfigError(
            f"a plane takes three or more originals with codes of two or more numbers, got "
            f"{len(originals)} with {dim}"
        )


def _stretched(f: Velocity, until: float) -> Velocity:
    """x(until t) flows by until f(until t, x): its end at t = 1 is x(until)."""
    return lambda t, x: until * f(until * t, x)


def _spots(side: str) -> go.Scatter:
    """The samples, coloured by accuracy, in the plane (left) or above t (right)."""
    return go.Scatter(
        name=SAMPLES,
        meta=side,
        mode="markers",
        marker={
            "coloraxis": "coloraxis",
            "size": 10,
            "line": {"color": "black", "width": 1},
        },
        cliponaxis=side == "left",
        showlegend=side == "left",
        hovertemplate="sample %{pointNumber}: %{marker.color:.1%}<extra></extra>",
    )
