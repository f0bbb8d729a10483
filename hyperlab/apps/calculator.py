"""When does a learned flow pay off? Cost in all against the number of tasks, and the crossing."""

import math
from dataclasses import replace

import numpy as np

from hyperlab.apps.state import Choice, Figure, State, Whole
from hyperlab.evaluation.budget import BACKBONES, Plan, break_even
from hyperlab.views import figures

LOOKS = {
    "all, class means recomputed": (None, False),
    "100, class means pushed": (100, True),  # and worse than no adaptation: results/cost.md
}
RIVALS = {"full fine-tuning": "everything", "bias-tuning": "biases"}
RECORDED = (0, 704, 4_000, 40_000)  # fine-tunings; the course's, the paper's about 40,000


class CalculatorState(State):
    """The choices of one reader, and what they cost."""

    name = "calculator"
    backbone = Choice("backbone", tuple(BACKBONES), "ViT-S/16")
    size = Choice("pixels", (32, 64, 128, 224), 224)
    n_images = Choice("support", (25, 50, 100, 200, 400, 500), 400)
    rival = Choice("instead of", tuple(RIVALS))
    look = Choice("looks at", tuple(LOOKS))
    recorded = Choice("recorded", RECORDED, 40_000)
    steps = Whole("gradient steps", 50, low=1, high=200)  # two passes each
    n_tasks = Whole("your tasks", 1_000, low=1, high=1_000_000, look="box")
    rows = (
        ("backbone", "size", "n_images"),
        ("rival", "look", "recorded"),
        ("steps", "n_tasks"),
    )

    def plan(self) -> Plan:
        max_images, push = LOOKS[self.look]
        plan = Plan(backbone=self.backbone, size=self.size, n_images=self.n_images)
        return replace(plan, steps=self.steps, max_images=max_images, push=push)

    def costs(self) -> tuple[float, float, float]:
        """FLOPs: offline once, Jacobian flow a task, the rival a task."""
        plan = self.plan()
        own = sum(plan.flow().values())
        rival = plan.fine_tuning(RIVALS[self.rival])
        return float(plan.recording(self.recorded)), float(own), float(rival)

    def crossing(self) -> float:
        """Tasks after which Jacobian flow has cost less in all."""
        offline, own, rival = self.costs()
        return break_even(offline, rival, own)

    def read_out(self) -> str:
        offline, own, rival = self.costs()
        parts, at, n = self.plan().flow(), self.crossing(), self.n_tasks
        shares = ", ".join(f"{k} {100 * part / rival:.2g} %" for k, part in parts.items())
        tuned, learned = n * rival, offline + n * own
        better = "Jacobian flow" if learned < tuned else self.rival
        end = "never" if math.isinf(at) else f"after {math.ceil(at):,} tasks"
        return (
            f"A task: {self.rival} {rival:.3g} FLOP, Jacobian flow {own:.3g} "
            f"({100 * own / rival:.2g} %: {shares}). Offline, once: {offline:.3g} FLOP. "
            f"{n:,} tasks: {tuned:.3g} against {learned:.3g} FLOP, {better} costs "
            f"less. Jacobian flow pays off: {end}."
        )

    def figure(self) -> Figure:
        """Both totals on logarithmic axes, their crossing and the chosen number of tasks."""
        offline, own, rival = self.costs()
        tasks, at, n = np.logspace(0, 6, 61), self.crossing(), self.n_tasks
        meet = ([at], [at * rival]) if 1 <= at < math.inf else ([], [])
        dotted = {"mode": "lines+markers", "line_dash": "dot"}
        yours = [n * rival, offline + n * own]
        traces = [
            figures.line("fine-tuning", 1, tasks, tasks * rival, width=3),
            figures.line("Jacobian flow", 0, tasks, offline + tasks * own, width=3),
            figures.spots("crossing", 3, *meet, size=13, marker_symbol="x"),
            figures.line("your tasks", "black", [n, n], yours, **dotted),
        ]
        log = {"type": "log", "exponentformat": "power"}
        tasks = log | {"title": "tasks", "range": [0, 6]}
        return figures.panels(traces, x=[tasks], y=[log | {"title": "FLOPs in all"}])
