"""What adapting to one task costs, part by part, beside full fine-tuning; JSON and table."""

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from hyperlab.base import ConfigError
from hyperlab.study import ledger, script, timing


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: vit_micro, 5 and 10 images; laptop, paper: all")
    ] = "laptop",
    seed: Annotated[
        int, typer.Option(help="no effect: images are noise, weights random")
    ] = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/cost"),
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    repeats: Annotated[int, typer.Option(help="timed calls; the median counts")] = 5,
    workers: Annotated[
        int, typer.Option(help="processes at once; 1 on an accelerator")
    ] = 1,
) -> None:
    """Counts everything, times what a processor can run. CPU, one core: 10 minutes."""
    if repeats < 1 or device.split(":")[0] not in ("cpu", "cuda"):
        raise ConfigError(
            f"want --repeats >= 1 and --device cpu or cuda, got {repeats}, {device}"
        )
    jobs, timed = ledger.plan_of(scale, device, repeats)
    found = ledger.report(jobs, timed, workers=workers, progress=tqdm)
    facts = {"command": script.command(), "scale": scale, "seed": seed}
    facts |= {"device": device, "machine": timing.machine()}
    facts |= {"versions": timing.versions(["torch", "timm"])}
    facts |= found
    script.keep(out.with_suffix(".json"), facts, ledger.markdown(facts))
    print(f"wrote {out}.json and {out}.md")


if __name__ == "__main__":
    script.run(main)
