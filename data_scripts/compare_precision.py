"""Record the same paths with products of shorter numbers; write how far their ends lie apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, whole_file
from hyperlab.hyperflow.collect import CollectConfig, draw_tasks
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.models import targets
from hyperlab.params import qv_biases
from hyperlab.study import precision, script

import torch
import typer
from tqdm import tqdm

BATCHES = {"smoke": 1, "laptop": 4, "paper": 16}  # of 8 tasks
TEACHERS = {
    "gradient descent, 20 x 10": TeacherConfig(),
    "Adam, 20 x 0.03": TeacherConfig(lr=0.03, optimiser="adam"),
}


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="the table, without suffix")] = Path(
        "results/precision"
    ),
) -> None:
    """Distance of the ends over the length of the path, in per cent. Keys stay still: inert."""
    target = targets.load("vit_micro", subset=qv_biases)
    config = CollectConfig(batch=8, protocol="5-way 5-shot", mixed=0.0, seed=seed)
    tasks = [t for b in range(choose(BATCHES, scale)) for t in draw_tasks(config, b)]
    supports = [task.episode.support for task in tasks]
    rows = {}
    for teacher, numbers in tqdm([(t, n) for t in TEACHERS for n in ("tf32", "bf16")]):
        plan = replace(TEACHERS[teacher], steps=2 if scale == "smoke" else 20)
        bits = precision.MANTISSA[numbers]
        found = 100 * precision.deviations(target, supports, plan, bits)
        spread = [round(float(found.quantile(q)), 2) for q in (0.5, 0.9, 1)]
        rows[f"{teacher}, {numbers}"] = spread
    about = {"command": script.command(), "tasks": len(tasks), "torch": torch.__version__}
    text = json.dumps(about | {"percent of the path": rows}, indent=1) + "\n"
    for suffix, part in ((".json", text), (".md", precision.markdown(rows))):
        with whole_file(out.with_suffix(suffix)) as draft:
            draft.write_text(part, encoding="utf-8")
    print(f"wrote {out}.json and .md")


if __name__ == "__main__":
    script.run(main)
