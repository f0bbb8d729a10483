"""Watch points of the prior flow to networks: any solver, any number of steps, and how good."""

from functools import lru_cache, partial
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

from hyperlab.base import ConfigError, Velocity, stream
from hyperlab.models.cnn import Network
from hyperlab.views import fields, figures
from hyperlab.views.apps.buttons import with_tips
from hyperlab.views.apps.frame import App
from hyperlab.views.apps.jobs import Turn, at_once
from hyperlab.views.apps.stepper_state import PACES
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
TIPS = {
    "Step": "one knot further",
    "Run": "to t = 1; from there, from the start again",
    "Pause": "stop the run",
    "Reset": "back to the prior, t = 0",
}


class Place(NamedTuple):
    """How the samples flow, and how far they have come."""

    method: str
    steps: int
    seed: int
    knot: int


class SamplerState(tr.HasTraits):
    """Sixteen samples of a flow and the time they have come to.

    Args:
        flow: in the encoder's codes, told the time alone.
        originals: networks to compare with, e.g. those that the flow was fitted to.
        data: images and labels that all networks are tried on; 300 images take 0.07 s a knot.

    Raises:
        ConfigError: the parts do not fit each other, or there are fewer than three originals.
    """

    SHARED = ("method", "steps", "seed", "pace", "knot")

    method = tr.Enum(METHODS, METHODS[0])
    steps = tr.Int(20, min=1, max=100)  # from t = 0 to 1; adaptive: only where we look
    knot = tr.Int(0, min=0)  # steps taken
    seed = tr.Int(0, min=0)  # of the starts
    pace = tr.Enum(PACES, PACES[1])  # knots a second of a run

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

    @tr.validate("knot")
    def _there(self, proposal: dict) -> int:
        if proposal["value"] > self.steps:
            raise ConfigError(f"knots 0 to {self.steps}, got {proposal['value']}")
        return proposal["value"]

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
        return self._solved(self.method, self.steps, self.seed)[0]

    def nfe(self) -> tuple[int, int]:
        """How often the velocity is asked up to here, and up to t = 1."""
        total = self._solved(self.method, self.steps, self.seed)[1]
        if self.method != "adaptive" or not self.knot:
            return self.knot * total // self.steps, total
        return self._solved(self.method, 1, self.seed, self.t)[1], total

    @torch.no_grad()
    def accuracies(self) -> Float[Tensor, " n"]:
        """Of every sample's network here; once measured they are kept."""
        place = self.place
        if place not in self._measured:
            codes = self._solved(*place[:3])[0][place.knot]
            networks = self.encoder.decode(codes)
            found = accuracies(self.architecture, networks, *self.data)
            self._measured[place] = found.cpu()
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
        some = [run for run in runs if len(self._curve(run)[0]) > 1][: len(BEFORE)]
        return {f"{r.method}, {r.steps} steps, seed {r.seed}": self._curve(r) for r in some}

    def plane(self) -> tuple[Float[Tensor, " n 2"], Float[Tensor, " samples knots 2"]]:
        """The originals, and the samples' paths, in the plane of the originals' codes."""
        paths = self.axes.to_plane(self.path().cpu()).transpose(0, 1)
        return self.axes.to_plane(self.codes), paths

    def step(self) -> None:
        """One knot further, up to t = 1."""
        self.knot = min(self.knot + 1, self.steps)

    async def run(self, turn: Turn = at_once) -> None:
        """Knot after knot to t = 1, each when its turn comes; from there, from the start again.

        Ends early where anything else is changed meanwhile.
        """
        if self.knot == self.steps:
            self.knot = 0
        here = self.place
        while here.knot < here.steps:
            await turn()
            if self.place != here:
                return
            self.step()
            here = self.place

    def read_out(self) -> str:
        """The picture in words and numbers."""
        (asked, total), found = self.nfe(), self.accuracies()
        shown = [self.axes.variance(x) for x in (self.codes, self.path()[-1].cpu())]
        how = f"{self.steps} steps of {self.method}"
        if self.method == "adaptive":
            how = f"adaptive solver, seen at {self.steps} times"
        return (
            f"t = {self.t:.2f}, {how}: {asked} of {total} evaluations of the velocity (NFE). "
            f"Accuracy of the {N_SAMPLES} samples: mean {found.mean():.1%}, best "
            f"{found.max():.1%}; of the originals: mean {self.ceiling.before.mean():.1%}, "
            f"decoded {self.ceiling.after.mean():.1%}. The plane shows "
            f"{shown[0]:.0%} of the variance of the originals' codes and {shown[1]:.0%} of "
            f"the finished samples'."
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


def figure_of(state: SamplerState) -> go.Figure:
    """Left the samples on their way to the originals, right their accuracy against t."""
    figure = make_subplots(cols=2, horizontal_spacing=0.14)
    originals, paths = state.plane()
    left = fields.cloud({"originals": originals})
    left.update_traces(marker={"color": figures.GREY, "symbol": "circle-open"})
    fields.strands(paths, name=PATHS, number=0, opacity=0.4, on=left)
    figure.add_traces([*left.data, _spots("left")], rows=1, cols=1)
    levels = {ORIGINALS: state.ceiling.before, DECODED: state.ceiling.after}
    for number, (name, found) in enumerate(levels.items(), 1):
        look = {"color": figures.OKABE_ITO[number], "dash": figures.DASHES[number]}
        y = [float(found.mean())] * 2
        figure.add_scatter(x=[0, 1], y=y, name=name, mode="lines", line=look, row=1, col=2)
    for number, slot in enumerate(BEFORE, 4):
        look = {"color": figures.OKABE_ITO[number], "dash": figures.DASHES[number]}
        past = {"mode": "lines", "line": look, "meta": slot, "opacity": 0.6}
        figure.add_scatter(name=slot, showlegend=False, row=1, col=2, **past)
    figure.add_trace(_spots("right"), row=1, col=2)
    look = {"color": figures.OKABE_ITO[3], "symbol": "diamond", "size": 9}
    mean = go.Scatter(name=MEAN, mode="lines+markers", marker=look)
    figure.add_trace(mean.update(line_color=look["color"]), row=1, col=2)
    bar = {"thickness": 12, "len": 1, "ypad": 0, "tickformat": ".0%"}  # beside its axis
    scale = {"colorscale": "Cividis", "cmin": 0, "cmax": 1, "colorbar": bar}
    figure.update_layout(template=figures.TEMPLATE, coloraxis=scale, height=480)
    figure.update_layout(margin_t=80)  # the legend takes two rows
    figure.update_xaxes(title="component 1 of the originals' codes", col=1)
    figure.update_yaxes(title="component 2", scaleanchor="x", col=1)
    figure.update_xaxes(title="t", range=[-0.04, 1.04], col=2)
    figure.update_yaxes(title="accuracy", range=[0, 1], tickformat=".0%", col=2)
    draw(figure, state)
    return figure


def _spots(side: str) -> go.Scatter:
    """The samples, coloured by accuracy, in the plane (left) or above t (right)."""
    look = {"coloraxis": "coloraxis", "size": 10, "line": {"color": "black", "width": 1}}
    words = "sample %{pointNumber}: %{marker.color:.1%}<extra></extra>"
    return go.Scatter(
        name=SAMPLES,
        meta=side,
        mode="markers",
        marker=look,
        cliponaxis=side == "left",
        showlegend=side == "left",
        hovertemplate=words,
    )


def moving(figure: BaseFigure, state: SamplerState) -> dict[int, Float[np.ndarray, "_ n"]]:
    """Number of a trace -> x, y and colours of its points, for those that a step changes."""
    points = _points(state)
    keys = [(trace.name, trace.meta) for trace in figure.data]
    return {number: points[key] for number, key in enumerate(keys) if key in points}


def _points(state: SamplerState) -> dict[tuple[str, str | None], Float[np.ndarray, "_ n"]]:
    """Name and side of a trace -> its points."""
    _, paths = state.plane()
    so_far = fields.strands(paths[:, : state.knot + 1], name=PATHS).data[0]
    found, here = state.accuracies().numpy(), paths[:, state.knot].T.numpy()
    return {
        (PATHS, None): np.stack([so_far.x, so_far.y]),
        (SAMPLES, "left"): np.stack([*here, found]),
        (SAMPLES, "right"): np.stack([np.full(N_SAMPLES, state.t), found, found]),
        (MEAN, None): torch.stack(state.curve()).numpy(),
    }


def draw(figure: BaseFigure, state: SamplerState) -> None:
    """Bring the traces in line with the state."""
    with figure.batch_update():
        for number, (x, y, *colours) in moving(figure, state).items():
            figure.data[number].update(x=x, y=y)
            if colours:
                figure.data[number].marker.color = colours[0]
        past = [*state.before().items()] + [("", ((), ()))] * len(BEFORE)
        for slot, (label, (x, y)) in zip(BEFORE, past, strict=False):
            (trace,) = figure.select_traces({"meta": slot})
            trace.update(
                x=np.asarray(x), y=np.asarray(y), name=label, showlegend=bool(label)
            )


class SamplerView(App):
    """Step, run, pause, reset; choose solver, number of steps, place and starts.

    Args:
        state: all rules are there; here its traits are wired to controls and pictures.
    """

    def __init__(self, state: SamplerState, *, seed: int = 0) -> None:
        self.state = state
        self.controls, self.buttons = _controls(), with_tips(TIPS)
        self.figure, self.words = figures.live(figure_of(state)), w.HTML()
        for name in ("method", "steps", "seed", "pace"):
            tr.link((state, name), (self.controls[name], "value"))
        self.controls["knot"].observe(lambda c: state.set_trait("knot", c["new"]), "value")
        acts = {"Step": state.step, "Pause": lambda: None}
        acts["Reset"] = lambda: state.set_trait("knot", 0)
        for name, act in acts.items():
            self.buttons[name].on_click(partial(self.press, act))
        self.buttons["Run"].on_click(self.play)
        state.observe(self.redraw, ["method", "steps", "seed", "knot"])
        *choices, place = self.controls.values()
        rows = [choices, [*self.buttons.values(), place]]
        views = [self.figure, self.words]
        super().__init__("flow_sampler", state, rows=rows, views=views, seed=seed)
        self.redraw()

    def redraw(self, _: object = None) -> None:
        """Bring everything in line with the state."""
        state, figure, slider = self.state, self.figure, self.controls["knot"]
        with slider.hold_trait_notifications():  # no place between the old and the new
            slider.max, slider.value = state.steps, state.knot
        self.buttons["Step"].disabled = state.knot == state.steps
        around = state.place._replace(knot=0)
        self.show(lambda: draw(figure, state), lambda: moving(figure, state), around=around)
        self.words.value = state.read_out()


def flow_sampler(state: SamplerState, *, seed: int = 0) -> SamplerView:
    """The app of notebook 12."""
    return SamplerView(state, seed=seed)


def _controls() -> dict[str, w.Widget]:
    def named(kind: type[w.Widget], words: str, **options: object) -> w.Widget:
        style = {"description_width": "initial"}
        return kind(description=words, style=style, **options)

    narrow = {"layout": {"width": "170px"}}
    return {
        "method": named(w.Dropdown, "solver", options=METHODS, **narrow),
        "steps": named(w.IntSlider, "steps to t = 1", min=1, max=100),
        "seed": named(w.BoundedIntText, "seed", min=0, max=9_999, **narrow),
        "pace": named(w.Dropdown, "knots a second", options=PACES, **narrow),
        "knot": named(w.IntSlider, "knot"),
    }
