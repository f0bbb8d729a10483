"""Write how long 1,000 to 40,000 trajectories take, from what bench_collection.py measured."""

import json
from pathlib import Path
from typing import Annotated

from hyperlab.base import DataMissingError, whole_file
from hyperlab.study import forecast, script

import typer


def main(
    bench: Annotated[Path, typer.Option(help="made by bench_collection.py")] = Path(
        "results/bench_collection.json"
    ),
    out: Annotated[Path, typer.Option(help="the table")] = Path("results/collection.md"),
) -> None:
    """Measured seconds scaled by operations; a GPU's from an assumed rate."""
    if not bench.exists():
        raise DataMissingError(
            f"no {bench}; run: python data_scripts/bench_collection.py --scale paper"
        )
    text = forecast.markdown(
        json.loads(bench.read_text(encoding="utf-8")), script.command()
    )
    with whole_file(out) as draft:
        draft.write_text(text, encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
