"""Fine-tune a generator through its solver, live: from which time on may gradients flow?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab.base import ConfigError, stream
from hyperlab.study.through import Row
from hyperlab.views import fields, figures
from hyperlab.views.apps.buttons import with_tips
from hyperlab.views.apps.frame import App
from hyperlab.views.apps.jobs import Turn, at_once
from hyperlab.views.projection import Plane
from hyperlab.weights.generate import Maker, ThroughConfig, updates
from hyperlab.weights.recipes import Images
from hyperlab.weights.zoo import accuracies, predict

N_SAMPLES = 12
EACH, MOST = 5, 60  # updates of a step, and of a run
ORIGINALS, ENDS = "codes of the base's networks", "samples"
WITHOUT, WITH = "path without gradient", "path with gradient"
HERE, OTHERS, PLAIN = "this t'", "other t' tried", "plain training, same operations"
TIPS = {
    "Step": f"{EACH} updates of the generator",
    "Run": f"up to {MOST} updates",
    "Pause": "stop the run",
    "Reset": "back to the untouched generator",
}


class Reading(NamedTuple):
    """What the samples are worth after some updates."""

    updates: int
    accuracy: float  # mean of the samples
    differ: float  # share of images that two samples tell differently


class Tuning:
    """A generator on its way, and how many updates it has had."""

    def __init__(self, rounds: Iterator[Maker]) -> None:
        self.rounds, self.count = rounds, 0
        self.maker = next(rounds)  # always the same object

    def advance(self, n: int) -> None:
        """At most n updates."""
        self.count += sum(1 for _ in islice(self.rounds, n))


class ThroughState(tr.HasTraits):
    """A generator that is fine-tuned on new images, its gradient stopped before t'.

    Another t' starts anew from the untouched generator; what was seen is kept.

    Args:
        codes: of the networks that the flow was fitted to.
        images: labelled images of the new data set: to fine-tune on, and to judge by.
        costs: what an update needs for every t' that can be chosen, of `through.costs`.

    Raises:
        ConfigError: no costs, or fewer than three codes of two numbers.
    """

    SHARED = ("stop", "updates")

    stop = tr.Float(0.4)  # t'
    done = tr.Int(0, min=0, max=MOST)  # updates so far

    def __init__(
        self,
        maker: Maker,
        codes: Float[Tensor, " n latent"],
        images: tuple[Images, Images],
        config: ThroughConfig,
        costs: Sequence[Row],
    ) -> None:
        if not costs or len(codes) < 3 or codes.shape[1] < 2:
            raise ConfigError(
                f"want costs of some t' and three or more codes of two or more numbers, got "
                f"{len(costs)} and {tuple(codes.shape)}"
            )
        self.costs = {round(float(row["stop"]), 3): row for row in costs}
        self.maker, self.codes, self.config = maker, codes, config
        (self.train, self.judged), self.axes = images, Plane.fit(codes)
        self.seen: dict[float, list[Reading]] = {}
        first = 0.4 if 0.4 in self.costs else next(iter(self.costs))
        super().__init__(stop=first)
        self.restart()

    @tr.validate("stop")
    def _known(self, proposal: dict) -> float:
        stop = round(proposal["value"], 3)
        if stop not in self.costs:
            raise ConfigError(f"no t' {stop}; have {sorted(self.costs)}")
        return stop

    @tr.observe("stop")
    def _anew(self, _: dict) -> None:
        self.restart()

    def restart(self) -> None:
        """Back to the untouched generator."""
        config = replace(self.config, detach=self.stop, updates=MOST)
        g = stream(0, "through time")
        self.tuning = Tuning(updates(self.maker, self.train, config, generator=g))
        self.seen[self.stop] = [self.read()]
        self.done = 0

    @property
    def updates(self) -> int:
        """Of the generator so far; setting it makes them again from the start."""
        return self.done

    @updates.setter
    def updates(self, n: int) -> None:
        if not 0 <= n <= MOST:
            raise ConfigError(f"0 to {MOST} updates, got {n}")
        self.restart()
        while self.tuning.count < n:
            self.step()

    def read(self) -> Reading:
        """Judge the samples as they are now."""
        with torch.no_grad():
            ends = self.maker.encoder.decode(self.path()[-1])
        network, images = self.maker.architecture, self.judged
        found, said = accuracies(network, ends, *images), predict(network, ends, images[0])
        i, j = torch.combinations(torch.arange(N_SAMPLES)).T
        differ = (said[i] != said[j]).float().mean()
        return Reading(self.tuning.count, float(found.mean()), float(differ))

    def path(self) -> Float[Tensor, " knots n latent"]:
        """The samples' codes from t = 0 to 1, as the generator is now."""
        how = {"steps": self.config.steps, "method": self.config.method}
        g = stream(1, "through time")
        return self.tuning.maker.flow.path(N_SAMPLES, generator=g, **how)

    @property
    def knot(self) -> int:
        """Steps of the solver without gradient."""
        return replace(self.config, detach=self.stop).knot

    def plane(self) -> tuple[Float[Tensor, " n 2"], Float[Tensor, " samples knots 2"]]:
        """The base's codes, and the samples' paths, in the plane of the former."""
        paths = self.axes.to_plane(self.path()).transpose(0, 1)
        return self.axes.to_plane(self.codes), paths

    def step(self) -> None:
        """Some updates further, if there are any left."""
        if self.tuning.count < MOST:
            self.tuning.advance(EACH)
            self.seen[self.stop].append(self.read())
            self.done = self.tuning.count

    async def run(self, turn: Turn = at_once) -> None:
        """Step after step to the last update; ends early where t' is changed."""
        if self.tuning.count == MOST:
            self.restart()
        tuning = self.tuning
        while tuning.count < MOST:
            await turn()
            if self.tuning is not tuning:
                return
            self.step()

    def read_out(self) -> str:
        """The picture in words and numbers."""
        row, full = self.costs[self.stop], self.costs[min(self.costs)]
        first, last = self.seen[self.stop][0], self.seen[self.stop][-1]
        return (
            f"t' = {self.stop:.2f}: {self.knot} of {self.config.steps} steps run without "
            f"gradient. An update keeps {row['saved_bytes'] / 1e6:.1f} MB for the way back "
            f"(t' = {min(self.costs):.0f}: {full['saved_bytes'] / 1e6:.1f} MB), and its first "
            f"gradient has {row['norm'] / full['norm']:.0%} of the length. After "
            f"{last.updates} updates the {N_SAMPLES} samples are right in "
            f"{last.accuracy:.1%} of the new images (before: {first.accuracy:.1%}), and two of "
            f"them differ on {last.differ:.1%} (before: {first.differ:.1%})."
        )


def figure_of(state: ThroughState, plain: tuple[Tensor, Tensor] | None = None) -> go.Figure:
    """Left the samples' paths, right their accuracy against updates.

    Args:
        plain: updates of the generator, and what plain training reaches for their operations.
    """
    figure = make_subplots(cols=2, horizontal_spacing=0.14)
    originals, paths = state.plane()
    left = fields.cloud({ORIGINALS: originals})
    left.update_traces(marker={"color": figures.GREY, "symbol": "circle-open"})
    fields.strands(paths, name=WITHOUT, number=None, on=left)
    fields.strands(paths, name=WITH, number=0, opacity=0.7, on=left)
    look = {
        "color": figures.OKABE_ITO[1],
        "size": 9,
        "line": {"color": "black", "width": 1},
    }
    left.add_scatter(name=ENDS, mode="markers", marker=look)
    figure.add_traces(left.data, rows=1, cols=1)
    for number, name in {0: HERE, 4: OTHERS}.items():
        look = {"color": figures.OKABE_ITO[number], "dash": figures.DASHES[number]}
        how = {"mode": "lines+markers", "line": look, "marker_color": look["color"]}
        figure.add_scatter(name=name, row=1, col=2, **how)
    if plain:
        x, y = (part.numpy() for part in plain)
        look = {"color": figures.OKABE_ITO[2], "dash": figures.DASHES[2]}
        figure.add_scatter(x=x, y=y, name=PLAIN, mode="lines", line=look, row=1, col=2)
    figure.update_layout(template=figures.TEMPLATE, height=460, margin_t=80)
    figure.update_xaxes(title="component 1 of the base's codes", col=1)
    figure.update_yaxes(title="component 2", col=1)
    figure.update_xaxes(title="updates of the generator", range=[-1, MOST + 1], col=2)
    title = "accuracy on new images"
    figure.update_yaxes(title=title, range=[0, 1], tickformat=".0%", col=2)
    draw(figure, state)
    return figure


def draw(figure: BaseFigure, state: ThroughState) -> None:
    """Bring the traces in line with the state."""
    paths, traces = state.plane()[1], {t.name: t for t in figure.data}
    parts = {WITHOUT: paths[:, : state.knot + 1], WITH: paths[:, state.knot :]}
    others = [r for stop, rows in state.seen.items() if stop != state.stop for r in rows]
    curves = {HERE: state.seen[state.stop], OTHERS: _lifted(others)}
    with figure.batch_update():
        for name, part in parts.items():
            strand = fields.strands(part, name=name).data[0]
            traces[name].x, traces[name].y = strand.x, strand.y
        traces[ENDS].x, traces[ENDS].y = paths[:, -1].T.numpy()
        for name, rows in curves.items():
            traces[name].x = [r and r.updates for r in rows]
            traces[name].y = [r and r.accuracy for r in rows]


def _lifted(rows: Sequence[Reading]) -> list[Reading | None]:
    """The same, None before each that begins anew: there the line is lifted."""
    return [x for r in rows for x in ([None, r] if r.updates == 0 else [r])]


class ThroughView(App):
    """Choose t'; step, run, pause, reset.

    Args:
        state: all rules are there; here its traits are wired to controls and pictures.
    """

    def __init__(
        self,
        state: ThroughState,
        plain: tuple[Tensor, Tensor] | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.state = state
        self.slider = w.SelectionSlider(
            description="t' (no gradient before it)",
            options=[(f"{stop:.2f}", stop) for stop in sorted(state.costs)],
            value=state.stop,
            style={"description_width": "initial"},
            layout={"width": "420px"},
        )
        self.buttons = with_tips(TIPS)
        self.figure, self.words = figures.live(figure_of(state, plain)), w.HTML()
        tr.link((state, "stop"), (self.slider, "value"))
        acts = {"Step": state.step, "Pause": lambda: None, "Reset": state.restart}
        for name, act in acts.items():
            self.buttons[name].on_click(partial(self.press, act))
        self.buttons["Run"].on_click(self.play)
        state.observe(self._chosen, "stop")
        state.observe(self.redraw, "done")
        self.redraw()
        rows, views = [[self.slider, *self.buttons.values()]], [self.figure, self.words]
        super().__init__("through_time", state, rows=rows, views=views, seed=seed)

    def press(self, act: Callable[[], None], _: object = None) -> None:
        """Draw too: a reset may leave the number of updates as it was."""
        super().press(act)
        self.redraw()

    def _chosen(self, _: object) -> None:
        self.job.stop()
        self.redraw()

    def redraw(self, _: object = None) -> None:
        """Bring everything in line with the state."""
        self.buttons["Step"].disabled = self.state.done == MOST
        draw(self.figure, self.state)
        self.words.value = self.state.read_out()


def through_time(
    state: ThroughState, plain: tuple[Tensor, Tensor] | None = None, *, seed: int = 0
) -> ThroughView:
    """The app of notebook 14."""
    return ThroughView(state, plain, seed=seed)
