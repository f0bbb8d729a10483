"""What is written about an evaluation: one table as JSON, Markdown and HTML."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch

from ..base import DataMissingError, Progress, silent, whole_file
from ..hyperflow.adapt import Method
from ..models.targets import Target
from . import script
from .experiments import EvalConfig, compare, evaluate, recovery, summarise
from .methods import BASELINE, TEACHER
from .tables import table

AVERAGES = {"in_domain": "in-domain average", "held_out": "out-of-domain average"}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff}}
table {{border-collapse: collapse; font-variant-numeric: tabular-nums}}
th, td {{padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd}}
th:first-child, td:first-child {{text-align: left}}
tr.average td {{font-weight: 600; border-top: 2px solid #444}}
</style></head><body><h1>{title}</h1><p>{said}</p><p><code>{command}</code></p>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""
SAID = "Gains over no adaptation in points of accuracy, paired, with 95 % intervals."


def write(table: pd.DataFrame, stem: Path, about: Mapping[str, object]) -> None:
    """`stem`.json with all figures, `stem`.md and `stem`.html with the table; each file whole."""
    summary = summarise(table)
    methods = [m for m in summary["method"].unique() if m != BASELINE]
    emulators = methods if TEACHER in methods else []
    figures = {
        "about": {
            **about,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "torch": torch.__version__,
        },
        "summary": summary.round(5).to_dict("records"),
        "recovery": {m: round(recovery(table, m), 4) for m in emulators},
        "paired": paired(table, [m for m in methods if m.startswith("HyperFlow")]),
    }
    texts = {
        ".json": json.dumps(figures, indent=1) + "\n",
        ".md": markdown(summary, about),
        ".html": page(summary, about, stem.name),
    }
    for suffix, text in texts.items():
        with whole_file(stem.with_suffix(suffix)) as draft:
            draft.write_text(text)


def read(stem: Path | str) -> tuple[pd.DataFrame, dict[str, object]]:
    """The summary of a written table, and what is said about it (command, role, seed ...).

    Raises:
        DataMissingError: there is no such table.
    """
    path = Path(stem).with_suffix(".json")
    if not path.exists():
        raise DataMissingError(f"no table {path}; run: python data_scripts/evaluate.py")
    found = json.loads(path.read_text())
    facts = {key: value for key, value in found.items() if key != "summary"}
    return pd.DataFrame(found["summary"]), facts.pop("about") | facts


def finish(
    table: pd.DataFrame,
    config: EvalConfig,
    n_rows: int,
    stem: Path,
    facts: Mapping[str, object] | None = None,
) -> str:
    """Write the table if all shares are done; says what was written, or what is missing."""
    if len(table) < n_rows:
        return (
            f"{len(table)} of {n_rows} rows are there; the table waits for the other shares"
        )
    write(table, stem, about(config) | dict(facts or {}))
    return f"wrote {stem}.json, .md and .html"


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
    write(table, stem, about(config))


def about(config: EvalConfig) -> dict[str, object]:
    """The command that runs and what decides its tasks."""
    facts = {"role": config.role, "protocol": config.protocol, "seed": config.seed}
    return {"command": script.command(), **facts}


def paired(table: pd.DataFrame, flows: Sequence[str]) -> dict[str, list[float]]:
    """Paired difference of each flow to each other method, in accuracy, and its 95 % +-."""
    return {
        f"{flow} - {other}": [round(x, 5) for x in compare(table, flow, other)]
        for flow in flows
        for other in table["method"].unique()
        if other not in (flow, BASELINE)
    }


def cells(summary: pd.DataFrame) -> list[list[str]]:
    """The table in words: a head, then per domain n, accuracy of no adaptation, and all gains."""
    methods = [m for m in summary["method"].unique() if m != BASELINE]
    found = [["domain", "n", BASELINE, *methods]]
    for (role, domain), part in summary.groupby(["role", "domain"], sort=False):
        row = part.set_index("method")
        name = AVERAGES.get(role, "all") if domain == "all" else domain
        gains = [f"{100 * row.gain[m]:+.1f} ± {100 * row.gain_pm[m]:.1f}" for m in methods]
        start = f"{100 * row.accuracy[BASELINE]:.1f}"
        found.append([name, str(row.n.iloc[0]), start, *gains])
    return found


def markdown(summary: pd.DataFrame, about: Mapping[str, object]) -> str:
    """Accuracy of no adaptation, and every method's gain over it, in points, per domain."""
    head, *rows = cells(summary)
    lines = [SAID, "", f"`{about.get('command', '')}`", ""]
    return "\n".join([*lines, *table(head, rows)]) + "\n"


def page(summary: pd.DataFrame, about: Mapping[str, object], title: str) -> str:
    """The same table as one HTML page that needs nothing else."""
    head, *rows = cells(summary)
    averages = {"all", *AVERAGES.values()}
    lines = [
        f'<tr class="{"average" if row[0] in averages else "domain"}">'
        + "".join(f"<td>{cell}</td>" for cell in row)
        + "</tr>"
        for row in rows
    ]
    return PAGE.format(
        title=title.replace("_", " "),
        said=SAID,
        command=about.get("command", ""),
        head="".join(f"<th>{cell}</th>" for cell in head),
        rows="\n".join(lines),
    )
