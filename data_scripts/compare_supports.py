"""More support images, 25 to 400: accuracy, and what of a displacement is the task's own."""

import json
from pathlib import Path
from typing import Annotated

from hyperlab.base import whole_file
from hyperlab.models import targets
from hyperlab.study import claims, experiments, methods, script, supports

import typer
from tqdm import tqdm


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="to write")] = Path("results/supports.json"),
    data: script.Data = None,
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
    shots: Annotated[str, typer.Option(help="a class; empty: the scale's")] = "",
) -> None:
    """Held-out domains with enough images. CPU, one core: half a minute a task."""
    usual = "1,2" if scale == "smoke" else "5,10,20,40,80"
    counts = script.numbers(shots or usual, "--shots")
    n = script.n_tasks(n_tasks, scale, 6)
    config = experiments.EvalConfig(
        protocol="5-way 5-shot", n_tasks=n, seed=seed, only=script.words(only)
    )
    learned = methods.Learned(nets=methods.networks(["HyperFlow-C=cubic"]))
    names = [methods.BASELINE, methods.TEACHER, "HyperFlow-C"]
    chosen, target = methods.named(names, learned), targets.load("vit_micro")
    sizes = supports.grow(target, chosen, config, counts, root=data, progress=tqdm)
    report = {
        "about": claims.about(config),
        **supports.report(sizes, learned="HyperFlow-C"),
    }
    with whole_file(out) as draft:
        draft.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
