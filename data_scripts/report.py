"""What is written about an evaluation: one table as JSON, Markdown and HTML."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

from hyperlab.base import Progress, silent, whole_file
from hyperlab.evaluation import claims, timing
from hyperlab.evaluation.experiments import (
    EvalConfig,
    compare,
    evaluate,
    recovery,
    summarise,
)
from hyperlab.evaluation.methods import BASELINE, TEACHER
from hyperlab.evaluation.tables import number, rounded, table, with_interval
from hyperlab.hyperflow.adapt import Method
from hyperlab.models.targets import Target

import pandas as pd
import torch

FLOWS = ("HyperFlow", "Jacobian flow")
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
SAID = (
    "Gains over no adaptation in points of accuracy, paired, with 95 % intervals (Student's t): a "
    "domain's over its n tasks, the last row's over the means of its domains; none below three."
)


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
        "summary": rounded(summary.to_dict("records")),
        "recovery": rounded({m: recovery(table, m) for m in emulators}),
        "paired": paired(table, [m for m in methods if m.startswith(FLOWS)]),
    }
    whole = json.dumps(figures, indent=1, allow_nan=False) + "\n"
    for suffix, text in ({".json": whole} | texts(figures, stem.name)).items():
        with whole_file(stem.with_suffix(suffix)) as draft:
            draft.write_text(text, encoding="utf-8")


def texts(figures: Mapping[str, object], name: str) -> dict[str, str]:
    """Suffix -> what is printed of the figures of a table: Markdown, and a page of HTML."""
    summary, about = claims.summary(figures), figures["about"]
    text = markdown(summary, about) + more(figures)
    return {".md": text, ".html": page(summary, about, name)}


def more(figures: Mapping[str, object]) -> str:
    """Differences of the flows to every other method, and fractions of the teacher's gain."""
    lines = []
    if pairs := figures["paired"]:
        named = dict.fromkeys(row["method"] for row in figures["summary"])
        methods = [name for name in named if name != BASELINE]
        flows = [a for a in methods if any(f"{a} - {b}" in pairs for b in methods)]
        lines += ["", "Paired difference of a row to a column, over the same units:", ""]
        rows = [[a, *(_pair(pairs.get(f"{a} - {b}")) for b in methods)] for a in flows]
        lines += table(["points", *methods], rows)
    if found := figures["recovery"]:
        lines += [
            "",
            f"Fraction of the gain of {TEACHER}, with the ends of a 95 % bootstrap:",
            "",
        ]
        lines += table(
            ["method", "%", "from", "to"],
            [
                [m, *(round(100 * x) if x is not None else "–" for x in xs)]
                for m, xs in found.items()
                if m != TEACHER
            ],
        )
    return "\n".join([*lines, ""]) if lines else ""


def _pair(found: Sequence[float | None] | None) -> str:
    return with_interval(found[0], number(found[1]), sign="+") if found else ""


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
    return {"command": timing.command(), **facts}


def paired(table: pd.DataFrame, flows: Sequence[str]) -> dict[str, list[float | None]]:
    """Paired difference of each flow to each other method, and its 95 % +-; of accuracy."""
    return {
        f"{flow} - {other}": rounded(compare(table, flow, other))
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
        gains = [with_interval(row.gain[m], row.gain_pm[m], sign="+") for m in methods]
        first = row.iloc[0]
        n = str(first.n) + f", {first.n_units} domains" * (first.unit == "domains")
        start = f"{100 * row.accuracy[BASELINE]:.1f}"
        found.append([name, n, start, *gains])
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
