"""Run the course without a screen and write executed copies with one HTML index."""

import os
from pathlib import Path
from typing import Annotated

from hyperlab.base import SCALES, ConfigError

import typer
from tqdm.auto import tqdm

import script
from course import runner, times

ROOT = Path(__file__).parents[1]


def main(
    scale: Annotated[
        str, typer.Option(help=f"One of {', '.join(SCALES)}: seconds, minutes, a GPU.")
    ] = "smoke",
    seed: Annotated[int, typer.Option(help="Seed of every random stream.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = ROOT
    / "artifacts/notebooks",
    device: Annotated[
        str, typer.Option(help="auto: an accelerator if there is one; or cpu.")
    ] = "auto",
    only: Annotated[str, typer.Option(help="Those whose names begin so: 05.")] = "",
    golden: Annotated[
        bool, typer.Option("--golden", help="Store golden cells' outputs in notebooks/.")
    ] = False,
    keep: Annotated[
        Path | None,
        typer.Option(help="Put seconds, memory into this .json, .md.", dir_okay=False),
    ] = None,
) -> None:
    """Run notebooks/*.ipynb in order; exit 1 if any has a fault."""
    paths = sorted((ROOT / "notebooks").glob(f"{only}*.ipynb"))
    if scale not in SCALES or device not in ("auto", "cpu") or not paths:
        raise ConfigError(f"have scales {SCALES}, devices auto and cpu, notebooks NN_topic")
    if golden and (scale, seed) != ("smoke", 0):
        raise ConfigError("golden cells hold what --scale smoke --seed 0 prints")
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    runs = runner.run_all(paths, out, {"scale": scale, "seed": seed}, progress=tqdm)
    for done, path in zip(runs, paths, strict=True):
        took = f"{done.seconds:.1f} s, {done.cpu_seconds:.1f} of the processor"
        typer.echo(f"{done.name}: {took}, {', '.join(done.faults) or 'passed'}")
        if golden and not done.faults:
            typer.echo(f"  {runner.store_golden(path, done.executed)} golden cells stored")
    if keep is not None:
        times.keep(keep.with_suffix(".json"), runs, scale)
    typer.echo(f"wrote {out / 'index.html'}")
    raise typer.Exit(int(any(done.faults for done in runs)))


if __name__ == "__main__":
    script.run(main)
