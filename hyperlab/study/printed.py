"""The tables of results/, printed again from their figures: people read what the JSON holds."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from . import (
    claims,
    contention,
    course_times,
    forecast,
    generator_tables,
    head_tables,
    ledger,
    precision,
    retrieval_tables,
    start_tables,
    through_tables,
)

Printer = Callable[[Mapping], str]  # figures -> Markdown
PLAN = "python data_scripts/plan_collection.py"
# JSON -> Markdown and its printer; figures with a "summary" are printed by `claims`.
PRINTERS: dict[str, tuple[str, Printer]] = {
    "adapters": ("adapters", head_tables.adapters_markdown),
    "bench_collection": ("collection", lambda found: forecast.markdown(found, PLAN)),
    "bench_threads": ("bench_threads", contention.markdown),
    "bench_threads_07": ("bench_threads_07", contention.markdown),
    "bench_threads_07_laptop": ("bench_threads_07_laptop", contention.markdown),
    "cost": ("cost", ledger.markdown),
    "course": ("course", course_times.markdown),
    "generators": ("generators", lambda found: generator_tables.markdown(found["zoos"])),
    "heads": ("heads", head_tables.heads_markdown),
    "precision": ("precision", lambda f: precision.markdown(f["percent of the path"])),
    "retrieval": ("retrieval", retrieval_tables.markdown),
    "starts": ("starts", lambda found: start_tables.markdown(found["zoos"])),
    "through": ("through", lambda found: through_tables.markdown(found["pairs"])),
}


def texts(path: Path) -> dict[Path, str]:
    """Files beside a JSON of figures -> what is printed of it there; some have no table."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if "summary" in found:
        pages = claims.texts(found, path.stem)
        return {path.with_suffix(suffix): text for suffix, text in pages.items()}
    if path.stem not in PRINTERS:
        return {}
    name, printer = PRINTERS[path.stem]
    return {path.with_name(f"{name}.md"): printer(found)}
