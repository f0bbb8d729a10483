"""When does a learned flow pay off? Cost in all against the number of tasks, and the crossing."""

import math
from dataclasses import replace

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from torch import Tensor

from hyperlab.study.budget import BACKBONES, Plan, break_even
from hyperlab.views import figures
from hyperlab.views.apps.frame import App

IMAGES = (25, 50, 100, 200, 400, 500)
SIZES = (32, 64, 128, 224)
LOOKS = {
    "all, class means recomputed": (None, False),
    "100, class means pushed": (100, True),  # and worse than no adaptation: results/cost.md
}
RIVALS = {"full fine-tuning": "everything", "bias-tuning": "biases"}
RECORDED = (0, 704, 4_000, 40_000)  # fine-tunings; the course's, the paper's about 40,000


class CalculatorState(tr.HasTraits):
    """The choices of one reader, and what they cost."""

    SHARED = (
        "backbone",
        "size",
        "n_images",
        "rival",
        "look",
        "recorded",
        "steps",
        "n_tasks",
    )

    backbone = tr.Enum(tuple(BACKBONES), "ViT-S/16")
    size = tr.Enum(SIZES, 224)  # pixels
    n_images = tr.Enum(IMAGES, 400)
    steps = tr.Int(50, min=1, max=200)  # gradient steps, two passes each
    rival = tr.Enum(tuple(RIVALS), "full fine-tuning")
    look = tr.Enum(tuple(LOOKS), "all, class means recomputed")
    recorded = tr.Enum(RECORDED, 40_000)
    n_tasks = tr.Int(1_000, min=1, max=1_000_000)  # to be solved

    def plan(self) -> Plan:
        max_images, push = LOOKS[self.look]
        plan = Plan(backbone=self.backbone, size=self.size, n_images=self.n_images)
        return replace(plan, steps=self.steps, max_images=max_images, push=push)

    def costs(self) -> tuple[float, float, float]:
        """FLOPs: offline once, HyperFlow a task, the rival a task."""
        plan = self.plan()
        own = sum(plan.hyperflow().values())
        rival = plan.fine_tuning(RIVALS[self.rival])
        return float(plan.recording(self.recorded)), float(own), float(rival)

    def crossing(self) -> float:
        """Tasks after which HyperFlow has cost less in all."""
        offline, own, rival = self.costs()
        return break_even(offline, rival, own)

    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> numbers of tasks, FLOPs in all; the crossing is empty where there is none."""
        offline, own, rival = self.costs()
        tasks = torch.logspace(0, 6, 61, dtype=torch.float64)
        at = self.crossing()
        cross = torch.tensor([at] if 1 <= at < math.inf else [], dtype=torch.float64)
        here = torch.tensor([self.n_tasks], dtype=torch.float64)
        return {
            "fine-tuning": (tasks, tasks * rival),
            "HyperFlow": (tasks, offline + tasks * own),
            "crossing": (cross, cross * rival),
            "your tasks": (
                here.repeat(2),
                torch.stack([here * rival, offline + here * own])[:, 0],
            ),
        }

    def read_out(self) -> str:
        """The picture in words and numbers."""
        offline, own, rival = self.costs()
        parts = self.plan().hyperflow()
        told = ", ".join(
            f"{name} {100 * part / rival:.2g} %" for name, part in parts.items()
        )
        tuned, learned, at = (
            self.n_tasks * rival,
            offline + self.n_tasks * own,
            self.crossing(),
        )
        better = "HyperFlow" if learned < tuned else self.rival
        end = "never" if math.isinf(at) else f"after {math.ceil(at):,} tasks"
        return (
            f"A task: {self.rival} {rival:.3g} FLOP, HyperFlow {own:.3g} "
            f"({100 * own / rival:.2g} %: {told}). Offline, once: {offline:.3g} FLOP. "
            f"{self.n_tasks:,} tasks: {tuned:.3g} against {learned:.3g} FLOP, {better} costs "
            f"less. HyperFlow pays off: {end}."
        )


def figure_of(state: CalculatorState) -> go.Figure:
    """Both totals on logarithmic axes, their crossing and the chosen number of tasks."""
    blue, orange, _, pink = figures.OKABE_ITO[:4]
    looks = {
        "fine-tuning": {
            "mode": "lines",
            "line": {"color": orange, "dash": "dash", "width": 3},
        },
        "HyperFlow": {"mode": "lines", "line": {"color": blue, "width": 3}},
        "crossing": {
            "mode": "markers",
            "marker": {"color": pink, "size": 13, "symbol": "x"},
        },
        "your tasks": {"mode": "lines+markers", "line": {"color": "black", "dash": "dot"}},
    }
    figure = go.Figure(layout={"template": figures.TEMPLATE})
    for name, (x, y) in state.curves().items():
        figure.add_scatter(x=x.numpy(), y=y.numpy(), name=name, **looks[name])
    figure.update_xaxes(title="tasks", type="log", range=[0, 6], exponentformat="power")
    return figure.update_yaxes(title="FLOPs in all", type="log", exponentformat="power")


def calculator(state: CalculatorState, *, seed: int = 0) -> App:
    """Choose the tasks and the backbone; the curves, the crossing and the words follow."""
    view, words = figures.live(figure_of(state)), w.HTML()
    wide = {"style": {"description_width": "8em"}}
    controls = {
        "backbone": w.Dropdown(options=list(BACKBONES), description="backbone", **wide),
        "size": w.Dropdown(options=list(SIZES), description="pixels", **wide),
        "n_images": w.Dropdown(options=list(IMAGES), description="support", **wide),
        "rival": w.Dropdown(options=list(RIVALS), description="instead of", **wide),
        "look": w.Dropdown(options=list(LOOKS), description="looks at", **wide),
        "recorded": w.Dropdown(options=list(RECORDED), description="recorded", **wide),
        "steps": w.IntSlider(min=1, max=200, description="gradient steps", **wide),
        "n_tasks": w.BoundedIntText(min=1, max=1_000_000, description="your tasks", **wide),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))

    def redraw(_: object = None) -> None:
        now = state.curves()
        with view.batch_update():
            for trace in view.data:
                trace.x, trace.y = (part.numpy() for part in now[trace.name])
        words.value = state.read_out()

    state.observe(redraw, list(controls))
    redraw()
    row = list(controls.values())
    rows = [row[:3], row[3:6], row[6:]]
    return App("calculator", state, rows=rows, views=[view, words], seed=seed)
