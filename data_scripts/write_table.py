"""Write the table of an evaluation from the rows that evaluate_methods.py left."""

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from hyperlab.base import DataMissingError
from hyperlab.study import claims, experiments, script


def main(
    rows: Annotated[Path, typer.Option(help="folder of the rows")] = Path(
        "artifacts/evaluate"
    ),
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/held_out"),
    seed: Annotated[int, typer.Option(help="of the evaluation")] = 0,
    role: Annotated[str, typer.Option(help="held_out or validation")] = "held_out",
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: Annotated[int, typer.Option(help="per domain at most")] = 600,
) -> None:
    """JSON and Markdown: accuracy, paired gains, share of the teacher's gain, controls."""
    paths = sorted(rows.glob(f"{claims.stem(role, protocol, seed)}-*.jsonl"))
    if not paths:
        raise DataMissingError(
            f"no rows in {rows}; run: python data_scripts/evaluate_methods.py"
        )
    table = pd.DataFrame([row for path in paths for row in experiments.read_rows(path)])
    table = table[table["task"] < n_tasks]
    about = {"command": " ".join(["python", *sys.argv]), "role": role, "protocol": protocol}
    claims.write(table, out, {**about, "seed": seed})
    print(f"wrote {out}.json and {out}.md")


if __name__ == "__main__":
    script.run(main)
