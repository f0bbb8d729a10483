"""Print every table of results/ again from its figures, without measuring anything."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from hyperlab.base import whole_file

import typer

import audit_cost
import bench_threads
import compare_drifts
import compare_generators
import compare_heads
import compare_precision
import compare_starts
import finetune_through
import plan_collection
import report
import retrieve_networks
import script
from course import times

Printer = Callable[[Mapping], str]  # figures -> Markdown
PLAN = "python data_scripts/plan_collection.py"
# JSON -> Markdown and its printer; figures with a "summary" are printed by `report`.
PRINTERS: dict[str, tuple[str, Printer]] = {
    "adapters": ("adapters", compare_heads.adapters_markdown),
    "bench_collection": ("collection", lambda found: plan_collection.markdown(found, PLAN)),
    "bench_threads": ("bench_threads", bench_threads.markdown),
    "bench_threads_07": ("bench_threads_07", bench_threads.markdown),
    "bench_threads_07_laptop": ("bench_threads_07_laptop", bench_threads.markdown),
    "cost": ("cost", audit_cost.markdown),
    "course": ("course", times.markdown),
    "drifts": ("drifts", compare_drifts.STUDY.text),
    "generators": ("generators", compare_generators.STUDY.text),
    "heads": ("heads", compare_heads.heads_markdown),
    "precision": (
        "precision",
        lambda f: compare_precision.markdown(f["percent of the path"]),
    ),
    "retrieval": ("retrieval", retrieve_networks.STUDY.text),
    "starts": ("starts", compare_starts.STUDY.text),
    "through": ("through", finetune_through.STUDY.text),
}


def texts(path: Path) -> dict[Path, str]:
    """Files beside a JSON of figures -> what is printed of it there; some have no table."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if "summary" in found:
        pages = report.texts(found, path.stem)
        return {path.with_suffix(suffix): text for suffix, text in pages.items()}
    if path.stem not in PRINTERS:
        return {}
    name, printer = PRINTERS[path.stem]
    return {path.with_name(f"{name}.md"): printer(found)}


def main(
    folder: Annotated[Path, typer.Option(help="of the JSON files")] = Path("results"),
) -> None:
    """NAME.json -> NAME.md, and NAME.html where there is a page; a second."""
    for path in sorted(folder.glob("*.json")):
        for out, text in texts(path).items():
            with whole_file(out) as draft:
                draft.write_text(text, encoding="utf-8")
            print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
