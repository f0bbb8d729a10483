"""What adapting to one task costs, part by part, beside full fine-tuning; JSON and table."""

import json
from pathlib import Path
from typing import Annotated

from hyperlab.study import ledger, script, timing

import typer
from tqdm import tqdm


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: vit_micro, 5 and 10 images; laptop, paper: all")
    ] = "laptop",
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/cost"),
    device: script.Device = "cpu",
    repeats: Annotated[int, typer.Option(help="timed calls; the median counts")] = 5,
    workers: Annotated[
        int, typer.Option(help="processes at once; 1 on an accelerator")
    ] = 1,
    accuracy: Annotated[
        Path, typer.Option(help="stem of compare_contexts.py's table: judges the bars")
    ] = Path("results/contexts"),
    again: Annotated[
        Path | None, typer.Option(help="an audit's JSON: derive the rest anew, run nothing")
    ] = None,
) -> None:
    """Counts everything, times what a processor can run. CPU, one core: 10 minutes."""
    given = ("--scale", "--device", "--repeats", "--workers")
    script.no_effect(*given, when=again, why="--again runs nothing")
    device = str(script.place(device))
    gains = ledger.gains(accuracy)
    if again:
        facts = json.loads(again.read_text(encoding="utf-8"))
        facts |= ledger.derived(facts["rows"], facts["device"], gains)
        script.keep(out.with_suffix(".json"), facts, ledger.markdown(facts))
        return
    jobs, timed = ledger.plan_of(scale, device, repeats)
    found = ledger.report(jobs, timed, gains, workers=workers, progress=tqdm)
    facts = {"command": script.command(), "scale": scale}
    facts |= {"device": device, "machine": timing.machine()}
    facts |= {"versions": timing.versions(["torch", "timm"])}
    facts |= found
    script.keep(out.with_suffix(".json"), facts, ledger.markdown(facts))
    print(f"wrote {out}.json and {out}.md")


if __name__ == "__main__":
    script.run(main)
