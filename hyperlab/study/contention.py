"""What a program takes on cores that others use as well."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from ..base import ArtifactError, Progress, silent
from .tables import table

BUSY = "while True: pass"
STEPS = """
from hyperlab import base, params
from hyperlab.hyperflow import adapt, drift
from hyperlab.models import targets
from hyperlab.tasks import domains, episodes

target = targets.load("vit_micro", subset=params.qkv_biases)
task = episodes.sample(domains.load("digits"), n_way=5, n_shot=5, generator=base.stream(0))
flow = adapt.HyperFlow(net=drift.load("cubic"), steps=40, method="euler")
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
