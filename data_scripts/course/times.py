"""What the course takes: time, memory and size of every notebook at each scale, as a result."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperlab.base import SCALES
from hyperlab.evaluation import timing

import study
from . import runner
from .recorded import PLOT
from .runner import Run

COLUMNS = ("seconds", "processor seconds", "peak MiB", "saved kB")
LIBRARY = "plotly.js v"  # how plotly.js begins
Facts = dict[str, dict[str, dict]]  # notebook -> scale -> what was measured


def keep(path: Path, runs: Sequence[Run], scale: str) -> None:
    """Write the runs into `path`, JSON, and the .md beside it; what else is there stays."""
    facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    facts = add(facts, runs, scale)
    study.write(path, facts, markdown(facts))


def add(facts: Facts, runs: Sequence[Run], scale: str) -> Facts:
    """The facts with these runs in the place of earlier ones of the same scale.

    Runs with faults are left out: they do not say how long a whole one takes.
    """
    added = {done.name: {scale: measured(done)} for done in runs if not done.faults}
    names = sorted(facts.keys() | added.keys())
    return {name: facts.get(name, {}) | added.get(name, {}) for name in names}


def measured(done: Run) -> dict[str, object]:
    """One run, with the command and the machine that it was measured on."""
    return {
        "seconds": round(done.seconds, 1),
        "cpu_seconds": round(done.cpu_seconds, 1),
        "peak_mib": round(done.peak_bytes / 2**20),
        "saved_kb": round(saved_bytes(done.executed) / 1000),
        "command": timing.command(),
        "machine": timing.machine(),
    }


def saved_bytes(executed: Path) -> int:
    """How large the notebook is when JupyterLab saves it.

    There a figure is data alone; this copy holds it as HTML too, with the library that draws it,
    and the widgets' states.
    """
    notebook = runner.read(executed)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        for output in cell.get("outputs", []):
            kinds = output.get("data", {})
            if PLOT in kinds or LIBRARY in kinds.get("text/html", ""):
                del kinds["text/html"]
    return len(json.dumps(notebook, indent=1, ensure_ascii=False).encode())


def markdown(facts: Facts) -> str:
    """One row a notebook, four columns a scale."""
    scales = [scale for scale in SCALES if any(scale in rows for rows in facts.values())]
    head = ["notebook", *(f"{scale}: {what}" for scale in scales for what in COLUMNS)]
    lines = [head, ["---"] * len(head)]
    for name, rows in facts.items():
        lines.append([name, *(w for scale in scales for w in words(rows.get(scale)))])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"Each notebook opened and run; the .json names command and machine.\n\n{table}\n"
    )


def words(row: Mapping[str, object] | None) -> list[str]:
    """The four numbers of a run, for people."""
    keys = ("seconds", "cpu_seconds", "peak_mib", "saved_kb")
    return [f"{row[key]:.0f}" if row else "-" for key in keys]
