"""Follow a gradient flow in the plane by steps of any size, with any solver."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import traitlets as tr
from jaxtyping import Float
from torch import Tensor

from hyperlab import interpolants, solvers
from hyperlab.apps.state import PACES, Choice, Figure, Points, Real, Steps, button, setting
from hyperlab.views import figures

MOST_STEPS = 512  # to the end of the flow
MOST_KEPT = 3  # paths that stay for comparison
MARKERS = 40  # of a path: hundreds would slow down a run


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


class GradientFlow(Steps):
    """What the reader can change, and what follows from it."""

    name = "gradient_flow"
    step_size = Real("step size", high=1e6, look="box")
    method = Choice("solver", tuple(solvers.STEPS), look="buttons")
    pace = Choice("steps a second", PACES, 5)  # of a run
    steps = tr.Int(min=0)
    kept = tr.Tuple()  # the newest first
    halve = setting("Halve the step", step_size=lambda s: s.step_size / 2)
    double = setting("Double the step", step_size=lambda s: s.step_size * 2)
    reset, forget = setting("Reset", steps=0), setting("Forget", kept=())
    to_the_end = setting("To the end", steps=lambda s: s.whole)
    rows = (
        ("step_size", "method"),
        ("halve", "double"),
        ("reset", "step", "to_the_end", "run", "pause", "keep", "forget", "pace"),
    )
    SHARED = ("method", "step_size", "steps", "pace")

    def __init__(self, landscape: Landscape, *, step_size: float) -> None:
        super().__init__()
        self.landscape = landscape
        flow, t_end = (landscape.velocity, landscape.start), landscape.t_end
        self.truth = solvers.solve(*flow, steps=400, method="rk4", t_end=t_end)
        self._settings: object = None  # method and step size of
        self._path = landscape.start[None]  # all steps taken so far
        self.step_size = step_size

    @tr.validate("step_size")
    def _within_reach(self, proposal: dict) -> float:
        smallest = self.landscape.t_end / MOST_STEPS
        return min(max(proposal["value"], smallest), self.landscape.t_end)

    @tr.observe("step_size", "method")
    def _anew(self, _: object) -> None:
        self.to_the_end()

    @property
    def whole(self) -> int:
        """Steps of the whole flow."""
        return math.ceil(self.landscape.t_end / self.step_size - 1e-9)

    @property
    def left(self) -> int:
        return max(0, self.whole - self.steps)

    def position(self) -> object:
        return self.method, self.step_size, self.steps

    @button("Step")
    def step(self) -> None:
        """One step more, while the flow lasts; after its end, from the start again."""
        self.steps = self.steps + 1 if self.left else 1

    def disabled(self) -> set[str]:
        return set()

    @button("Keep")
    def keep(self) -> None:
        """Let this path stay while others are tried."""
        label = f"{self.method}, step {self.step_size:.4g}"
        self.kept = (Kept(label, self.path(), self.step_size), *self.kept)[:MOST_KEPT]

    @property
    def time(self) -> float:
        return self.steps * self.step_size

    @property
    def gradients(self) -> int:
        return self.steps * solvers.NFE[self.method]

    def path(self) -> Float[Tensor, " knots 2"]:
        """The states so far; NaN where they have left the picture for good.

        A step of a run costs one step of the solver, not all from the start again.
        """
        land, settings = self.landscape, (self.method, self.step_size)
        if settings != self._settings:
            self._settings, self._path = settings, land.start[None]
        if (n := self.steps + 1 - len(self._path)) > 0:
            options = {"method": self.method, "t_end": n * self.step_size}
            more = solvers.solve(land.velocity, self._path[-1], steps=n, **options)
            self._path = torch.cat([self._path, more[1:]])
        path = self._path[: self.steps + 1]
        return path.where(path.norm(dim=1, keepdim=True) < 1e6, torch.nan)

    def read_out(self) -> str:
        end, flow = self.path()[-1], self._flow_at(self.time)
        words = f"{self.method}, step size {self.step_size:.4g}: {self.steps} steps, "
        words += f"{self.gradients} gradients, t = {self.time:.3g}. "
        if not end.isfinite().all():
            return words + "The path has left the picture: this step is too large."
        loss, flow_loss = self.landscape.losses(torch.stack([end, flow])).tolist()
        away = float((end - flow).norm())
        return words + f"Loss {loss:.4f}, of the flow {flow_loss:.4f}; {away:.3f} apart."

    def _flow_at(self, time: float) -> Tensor:
        times = torch.linspace(0, 1, len(self.truth), dtype=self.truth.dtype)
        record = interpolants.PiecewiseLinear(times, self.truth)
        return record.evaluate(times.new_tensor([min(time / self.landscape.t_end, 1.0)]))[0]

    def around(self) -> object:
        return self.method, self.step_size

    def moving(self) -> Points:
        plane, curve = self._drawn(self.path(), self.step_size)
        return {"steps": plane, "steps, loss": curve}

    def traces(self) -> Points:
        """The path and those that are kept."""
        points = {}
        for number in range(MOST_KEPT):
            one = self.kept[number] if number < len(self.kept) else None
            pair = self._drawn(one.path, one.step_size) if one else (([], []), ([], []))
            for panel, (x, y) in zip(("plane", "loss"), pair, strict=True):
                look = {"name": one.label if one else "", "visible": bool(one)}
                points[f"kept {number} {panel}"] = {"x": x, "y": y} | look
        return points | self.moving()

    def _drawn(
        self, path: Float[Tensor, " knots 2"], step_size: float
    ) -> tuple[Tensor, ...]:
        """Of a path in the plane, and of its loss against time."""
        curve = torch.arange(len(path)) * step_size, self.landscape.losses(path)
        return path.float().T, torch.stack(curve).float()

    def figure(self) -> Figure:
        """Left the plane with the flow and the path, right the loss of both against time."""
        land, marked = self.landscape, {"mode": "lines+markers", "size": 6}
        times = torch.linspace(0, land.t_end, len(self.truth))
        curve = [figures.array(part) for part in (times, land.losses(self.truth))]
        steps = marked | {"marker_maxdisplayed": MARKERS}
        left = [*self._plane().data, figures.line("steps", 1, meta="steps", **steps)]
        right = [
            figures.line("gradient flow", 0, x=curve[0], y=curve[1], showlegend=False),
            figures.line("steps", 1, meta="steps, loss", showlegend=False, **steps),
        ]
        for number in range(MOST_KEPT):
            for panel, traces in (("plane", left), ("loss", right)):
                look = {"meta": f"kept {number} {panel}", "showlegend": traces is left}
                look |= {"opacity": 0.7, "visible": False}
                traces.append(figures.line("", number + 2, **marked, **look))
        return figures.panels(
            left,
            right,
            x=[
                {"title": "parameter 1", "range": land.box[:2]},
                {"title": "t = step size x steps", "range": [0, land.t_end]},
            ],
            y=[
                {"title": "parameter 2", "range": land.box[2:]},
                {"title": "loss", "type": "log", "nticks": 3},
            ],
            widths=[0.6, 0.4],
        )

    def _plane(self) -> Figure:
        land = self.landscape
        xs, ys = (torch.linspace(*land.box[i : i + 2], 60).to(land.start) for i in (0, 2))
        grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), dim=-1)
        plane = figures.landscape(xs, ys, land.losses(grid).log10(), name="log10 loss")
        plane.update_traces(showscale=False)
        return figures.path_2d(self.truth, name="gradient flow", on=plane)
