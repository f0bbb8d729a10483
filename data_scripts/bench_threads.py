"""Time solver steps or a notebook alone, beside a busy process, four at once; write a table."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

from hyperlab.base import ArtifactError, Progress, silent
from hyperlab.evaluation.tables import table

import typer
from tqdm.auto import tqdm

import script
import study

BUSY = "while True: pass"
STEPS = """
from hyperlab import base, params
from hyperlab.hyperflow import adapt, jacobian_flow
from hyperlab.models import targets
from hyperlab.tasks import domains, episodes

target = targets.load("vit_micro", subset=params.qkv_biases)
task = episodes.sample(domains.load("digits"), n_way=5, n_shot=5, generator=base.stream(0))
flow = adapt.LearnedFlow(net=jacobian_flow.load(), steps=40, method="euler")
for _ in range(10):
    flow(target, task.support)
"""
SITUATIONS = {  # copies of the program at once, busy processes beside them
    "alone": (1, 0),
    "beside a busy process": (1, 1),
    "four at once": (4, 0),
}


def measure(
    trees: Mapping[str, Path],
    program: Sequence[str],
    *,
    repeats: int,
    limit_s: float,
    progress: Progress = silent,
) -> dict[str, dict[str, list[float | None]]]:
    """situation -> tree -> seconds of each round; the trees take turns.

    Args:
        trees: name -> a checkout of hyperlab, whose own package and notebooks run.
        program: what Python is given, in the folder of a checkout; a folder to write to is added.
        limit_s: of a round; None stands for one that took longer.
    """
    rounds = [(s, name) for s in SITUATIONS for _ in range(repeats) for name in trees]
    seconds = {situation: {name: [] for name in trees} for situation in SITUATIONS}
    for situation, name in progress(rounds, total=len(rounds), desc="rounds"):
        taken = last_of(trees[name], program, *SITUATIONS[situation], limit_s=limit_s)
        seconds[situation][name].append(taken)
    return seconds


def last_of(
    tree: Path, program: Sequence[str], copies: int, busy: int, *, limit_s: float
) -> float | None:
    """Seconds until the last copy is done, the start of Python included; None past the limit.

    Raises:
        ArtifactError: a copy failed.
    """
    command = [sys.executable, *program]
    plain = {k: x for k, x in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    where = {"cwd": tree, "env": plain | {"PYTHONPATH": str(tree.absolute())}}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    beside = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        start = time.perf_counter()
        running = [
            subprocess.Popen([*command, f"{folder}/{k}"], **where, **quiet)
            for k in range(copies)
        ]
        try:
            codes = [p.wait(max(0, start + limit_s - time.perf_counter())) for p in running]
        except subprocess.TimeoutExpired:
            return None
        finally:
            for process in (*running, *beside):
                process.kill()  # a kernel ends with its parent
                process.wait()
        if any(codes):
            raise ArtifactError(f"{' '.join(program)} failed in {tree}: run it alone")
        return time.perf_counter() - start


def row(seconds: Sequence[float | None], alone: Sequence[float | None]) -> str:
    """The median of the rounds, and how often the median alone goes into it."""
    of, idle = (
        median(float("inf") if s is None else s for s in x) for x in (seconds, alone)
    )
    return "past the limit" if of == float("inf") else f"{of:.0f} s ({of / idle:.1f} x)"


def markdown(found: Mapping) -> str:
    """The table of what `measure` gave and what is said about it."""
    seconds, n = found["seconds"], found["n"]
    trees = list(seconds["alone"])
    rows = [
        [place, *(row(times[name], seconds["alone"][name]) for name in trees)]
        for place, times in seconds.items()
    ]
    repeats, limit = n["repeats"], n["limit_s"]
    head = (
        f"Seconds until the last copy is done, medians of {repeats}; limit {limit:.0f} s."
    )
    lines = [head, "", *table([found["what"], *trees], rows), "", f"`{found['command']}`"]
    return "\n".join(lines) + "\n"


ROOT = Path(__file__).parents[1]
OUT = Path("results/bench_threads.json")


def main(
    scale: script.Scale = "smoke",
    seed: script.Seed = 0,
    only: Annotated[
        str, typer.Option(help="a notebook's number; empty: solver steps")
    ] = "",
    before: Annotated[Path | None, typer.Option(help="a checkout to compare")] = None,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts")] = 1,
    limit_s: Annotated[float, typer.Option(help="of a round, in seconds")] = 120,
    out: Annotated[Path, typer.Option(help="the .json to write, .md beside it")] = OUT,
) -> None:
    """Both checkouts take turns; wants a machine that does nothing else."""
    script.no_effect("--scale", "--seed", when=not only, why="solver steps have neither")
    trees = {"before": before} if before else {}
    trees |= {"now": ROOT}
    notebook = ["--scale", scale, "--seed", str(seed), "--only", only, "--out"]
    what = f"notebook {only}, {scale}" if only else "10 x 40 Euler steps of Jacobian flow"
    program = ["data_scripts/run_notebooks.py", *notebook] if only else ["-c", STEPS]
    rounds = {"repeats": repeats, "limit_s": limit_s, "progress": tqdm}
    seconds = measure(trees, program, **rounds)
    n = {"repeats": repeats, "limit_s": limit_s}
    found = study.about("torch", what=what, n=n) | {"seconds": seconds}
    study.write(out, found, markdown(found))


if __name__ == "__main__":
    script.run(main)
