"""The table of HyperFlow's claim: methods, controls, and what is written about them."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from ..base import Progress, silent, whole_file
from ..hyperflow.adapt import (
    Displacement,
    HyperFlow,
    Method,
    NearestDomain,
    NoAdaptation,
    WrongSupport,
    bias_tuning,
)
from ..hyperflow.drift import DriftNetwork
from ..hyperflow.trajectories import Trajectories
from ..models.targets import Target
from .experiments import (
    BASELINE,
    TEACHER,
    EvalConfig,
    compare,
    evaluate,
    recovery,
    summarise,
)

CONTROLS = ("mean displacement", "nearest domain's mean", "wrong support")


def teachers(protocol: str) -> list[Method]:
    """What needs no drift network: direct transfer and the fine-tuning that is emulated.

    Five small classes are also tuned for longer, which pays and costs little there; the steps were
    chosen on validation domains (compare_teachers.py).
    """
    emulated = [NoAdaptation(), bias_tuning()]
    longer = replace(bias_tuning(steps=40, lr=8.0), name=f"{TEACHER}, 40 steps of 8")
    return [*emulated, longer] if protocol == "5-way 5-shot" else emulated


def learned(
    data: Trajectories, nets: Mapping[str, DriftNetwork], length: float
) -> list[Method]:
    """HyperFlow with each network, and the controls; the wrong support goes to the last network.

    Args:
        nets: name -> network, e.g. {"HyperFlow-L": ..., "HyperFlow-C": ...}.
        length: factor on the drift, chosen on validation domains.
    """
    flows = [HyperFlow(net=net, name=name, length=length) for name, net in nets.items()]
    controls = [
        Displacement(delta=data.displacement.mean(0), name=CONTROLS[0]),
        NearestDomain.fit(data),
        WrongSupport(method=flows[-1]),
    ]
    return [*flows, *controls]


def write(
    table: pd.DataFrame,
    stem: Path,
    about: Mapping[str, object],
    controls: Sequence[str] = CONTROLS,
) -> None:
    """`stem`.json with all figures and `stem`.md with the table, each written whole.

    Args:
        controls: methods from which each HyperFlow's paired difference is taken.
    """
    summary = summarise(table)
    methods = [m for m in table["method"].unique() if m != BASELINE]
    emulators = methods if TEACHER in methods else []
    flows = [m for m in methods if m.startswith("HyperFlow")]
    figures = {
        "about": {
            **about,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
        },
        "summary": summary.round(5).to_dict("records"),
        "recovery": {m: round(recovery(table, m), 4) for m in emulators},
        "paired": paired(table, flows, controls),
    }
    with whole_file(stem.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(figures, indent=1) + "\n")
    with whole_file(stem.with_suffix(".md")) as draft:
        draft.write_text(markdown(summary, about))


def tabulate(
    target: Target,
    methods: Sequence[Method],
    config: EvalConfig,
    stem: Path,
    *,
    root: Path | None = None,
    progress: Progress = silent,
) -> None:
    """Evaluate and `write`: for comparisons that one process makes at once."""
    table = evaluate(target, methods, config, root=root, progress=progress)
    write(table, stem, made_by(config))


def made_by(config: EvalConfig) -> dict[str, object]:
    """What a table's file says of itself: the command line and the tasks."""
    tasks = {"role": config.role, "protocol": config.protocol, "seed": config.seed}
    return {"command": " ".join(["python", *sys.argv]), **tasks}


def paired(
    table: pd.DataFrame, flows: Sequence[str], controls: Sequence[str] = CONTROLS
) -> dict[str, list[float]]:
    """Paired difference of each flow to each control, in accuracy, and its 95 % +-."""
    here = set(table["method"])
    return {
        f"{flow} - {control}": [round(x, 5) for x in compare(table, flow, control)]
        for flow in flows
        for control in controls
        if control in here and control != flow
    }


def markdown(summary: pd.DataFrame, about: Mapping[str, object]) -> str:
    """Accuracy of no adaptation, and every method's gain over it, in points, per domain."""
    methods = [m for m in summary["method"].unique() if m != BASELINE]
    lines = [
        "Gains over no adaptation in points of accuracy, paired, with 95 % intervals.",
        "",
        f"`{about.get('command', '')}`",
        "",
        "| domain | n | no adaptation | " + " | ".join(methods) + " |",
        "|---" * (3 + len(methods)) + "|",
    ]
    for domain, part in summary.groupby("domain", sort=False):
        row = part.set_index("method")
        cells = [f"{100 * row.gain[m]:+.1f} ± {100 * row.gain_pm[m]:.1f}" for m in methods]
        base = f"{100 * row.accuracy[BASELINE]:.1f}"
        lines.append(f"| {domain} | {row.n.iloc[0]} | {base} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def stem(role: str, protocol: str, seed: int) -> str:
    """The beginning of the names of an evaluation's files."""
    return f"{role}-{protocol.replace(' ', '-')}-{seed}"
