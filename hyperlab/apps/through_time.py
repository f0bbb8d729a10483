"""Fine-tune a generator through its solver, live: from which time on may gradients flow?"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
import traitlets as tr
from jaxtyping import Float
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, Steps, button
from hyperlab.base import ConfigError, stream
from hyperlab.evaluation.tables import Row
from hyperlab.views import fields, figures
from hyperlab.views.projection import Plane
from hyperlab.weights.generate import Maker, ThroughConfig, updates
from hyperlab.weights.recipes import Images
from hyperlab.weights.zoo import accuracies, predict

N_SAMPLES = 12
EACH, MOST = 5, 60  # updates of a step, and of a run
ORIGINALS, ENDS = "codes of the base's networks", "samples"
WITHOUT, WITH = "path without gradient", "path with gradient"
HERE, OTHERS, PLAIN = "this t'", "other t' tried", "plain training, same operations"


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


class ThroughState(Steps):
    """A generator that is fine-tuned on new images, its gradient stopped before t'.

    Another t' starts anew from the untouched generator; what was seen is kept.

    Args:
        codes: of the networks that the flow was fitted to.
        images: labelled images of the new data set: to fine-tune on, and to judge by.
        costs: what an update needs for every t' that can be chosen, of `through.costs`.
        plain: updates of the generator, and what plain training reaches for their operations.
    """

    name = "through_time"
    stop = Choice(
        "t' (no gradient before it)",
        lambda s: [(f"{stop:.2f}", stop) for stop in sorted(s.costs)],
        look="slider",
    ).tag(width="420px")
    done = tr.Int(0, min=0, max=MOST)  # updates so far
    rows = (("stop", "step", "run", "pause", "reset"),)
    SHARED = ("stop", "updates")

    def __init__(
        self,
        maker: Maker,
        codes: Float[Tensor, " n latent"],
        images: tuple[Images, Images],
        config: ThroughConfig,
        costs: Sequence[Row],
        plain: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        if not costs or len(codes) < 3 or codes.shape[1] < 2:
            raise ConfigError(
                f"want costs of some t' and three or more codes of two or more numbers, got "
                f"{len(costs)} and {tuple(codes.shape)}"
            )
        self.costs = {round(float(row["stop"]), 3): row for row in costs}
        self.maker, self.codes, self.config, self.plain = maker, codes, config, plain
        (self.train, self.judged), self.axes = images, Plane.fit(codes)
        self.seen: dict[float, list[Reading]] = {}
        first = 0.4 if 0.4 in self.costs else next(iter(self.costs))
        super().__init__(stop=first)
        self.reset()

    @tr.observe("stop")
    def _anew(self, _: dict) -> None:
        self.reset()

    @button("Reset", "back to the untouched generator")
    def reset(self) -> None:
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
        self.reset()
        while self.tuning.count < n:
            self.step()

    def read(self) -> Reading:
        """Judge the samples as they are now."""
        with torch.no_grad():
            ends = self.maker.encoder.decode(self.path()[-1])
        network, images = self.maker.architecture, self.judged
        guesses = predict(network, ends, images[0])
        i, j = torch.combinations(torch.arange(N_SAMPLES)).T
        differ = (guesses[i] != guesses[j]).float().mean()
        accuracy = accuracies(network, ends, *images).mean()
        return Reading(self.tuning.count, float(accuracy), float(differ))

    def path(self) -> Float[Tensor, " knots n latent"]:
        """The samples' codes from t = 0 to 1, as the generator is now."""
        g, c = stream(1, "through time"), self.config
        flow = self.tuning.maker.flow
        return flow.path(N_SAMPLES, generator=g, steps=c.steps, method=c.method)

    @property
    def knot(self) -> int:
        """Steps of the solver without gradient."""
        return replace(self.config, detach=self.stop).knot

    def plane(self) -> tuple[Float[Tensor, " n 2"], Float[Tensor, " samples knots 2"]]:
        """The base's codes, and the samples' paths, in the plane of the former."""
        paths = self.axes.to_plane(self.path()).transpose(0, 1)
        return self.axes.to_plane(self.codes), paths

    @button("Step", f"{EACH} updates of the generator")
    def step(self) -> None:
        """Some updates further, if there are any left."""
        if self.tuning.count < MOST:
            self.tuning.advance(EACH)
            self.seen[self.stop].append(self.read())
            self.done = self.tuning.count

    @property
    def left(self) -> int:
        return math.ceil((MOST - self.tuning.count) / EACH)

    def position(self) -> object:
        return self.tuning

    def read_out(self) -> str:
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

    def figure(self) -> Figure:
        """Left the samples' paths, right their accuracy against updates."""
        (originals, paths), knot = self.plane(), self.knot
        before, after = (fields.bundle(p) for p in (paths[:, : knot + 1], paths[:, knot:]))
        circle, skip = {"marker_symbol": "circle"}, {"hoverinfo": "skip"}
        edge = circle | {"marker_line": {"color": "black", "width": 1}}
        hollow = {"marker_symbol": "circle-open", "opacity": 0.8}
        left = [
            figures.spots(ORIGINALS, None, *originals.T, **hollow),
            figures.line(WITHOUT, None, *before, width=1, **skip),
            figures.line(WITH, 0, *after, opacity=0.7, **skip),
            figures.spots(ENDS, 1, *paths[:, -1].T, size=9, **edge),
        ]
        others = [r for stop, rows in self.seen.items() if stop != self.stop for r in rows]
        marked = circle | {"mode": "lines+markers", "size": 6}
        right = [
            figures.line(HERE, 0, *_curve(self.seen[self.stop]), **marked),
            figures.line(OTHERS, 4, *_curve(_lifted(others)), **marked),
            *([figures.line(PLAIN, 2, *self.plain)] if self.plain else []),
        ]
        updates = {"title": "updates of the generator", "range": [-1, MOST + 1]}
        return figures.panels(
            left,
            right,
            x=["component 1 of the base's codes", updates],
            y=["component 2", {"title": "accuracy on new images"} | figures.SHARE],
            height=460,
            margin_t=80,
        )


def _curve(rows: Sequence[Reading | None]) -> tuple[list, list]:
    return [r and r.updates for r in rows], [r and r.accuracy for r in rows]


def _lifted(rows: Sequence[Reading]) -> list[Reading | None]:
    """The same, None before each that begins anew: there the line is lifted."""
    return [x for r in rows for x in ([None, r] if r.updates == 0 else [r])]
