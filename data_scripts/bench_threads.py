"""Time solver steps or a notebook alone, beside a busy process, four at once; write a table."""

from pathlib import Path
from typing import Annotated

from hyperlab.study import contention, script, timing

import typer
from tqdm.auto import tqdm

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
    what = f"notebook {only}, {scale}" if only else "10 x 40 Euler steps of HyperFlow-C"
    program = (
        ["data_scripts/run_notebooks.py", *notebook] if only else ["-c", contention.STEPS]
    )
    rounds = {"repeats": repeats, "limit_s": limit_s, "progress": tqdm}
    seconds = contention.measure(trees, program, **rounds)
    found = {
        "command": script.command(),
        "what": what,
        "n": {"repeats": repeats, "limit_s": limit_s},
        "machine": timing.machine(),
        "versions": timing.versions(["torch"]),
        "seconds": seconds,
    }
    script.keep(out, found, contention.markdown(found))


if __name__ == "__main__":
    script.run(main)
