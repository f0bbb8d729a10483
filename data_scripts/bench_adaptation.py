"""Cost of adapting to one task: Jacobian flow against bias-tuning; write one JSON file."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

from hyperlab.evaluation import cost
from hyperlab.hyperflow import adapt, jacobian_flow
from hyperlab.models import targets
from hyperlab.tasks import domains, episodes

import torch
import typer

import script
import study

SHOTS = {"smoke": (1,), "laptop": (5, 20), "paper": (5, 20, 50)}
OUT = Path("results/bench_adaptation.json")


def main(
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "laptop",
    seed: Annotated[int, typer.Option(help="of the tasks")] = 0,
    repeats: Annotated[int, typer.Option(help="timed calls; the median counts")] = 7,
    threads: Annotated[int, typer.Option(help="processor threads")] = 2,
    device: script.Device = "cpu",
    out: Annotated[Path, typer.Option(help="to write")] = OUT,
) -> None:
    """Seconds, FLOPs and bytes kept for backward, 5-way, vit_micro."""
    torch.set_num_threads(threads)
    place = script.place(device)
    target = targets.load("vit_micro").to(place)
    flow = adapt.LearnedFlow(net=jacobian_flow.load().to(place))
    results = {}
    for n_shot in SHOTS[scale]:
        draw = {"n_shot": n_shot, "generator": episodes.stream(seed, "bench", n_shot)}
        support = episodes.sample(domains.load("digits"), **draw).support
        calls = {m.name: partial(m, target, support) for m in (adapt.bias_tuning(), flow)}
        tuning, learned = rows = [
            cost.audit(name, call, target.model, repeats=repeats)
            for name, call in calls.items()
        ]
        time = tuning.seconds / learned.seconds
        results[f"{n_shot}-shot"] = {
            "rows": [asdict(row) for row in rows],
            "seconds, bias-tuning / Jacobian flow": round(time, 2),
            "flops, bias-tuning / Jacobian flow": round(tuning.flops / learned.flops, 2),
        }
    study.write(out, study.about("torch", "timm", repeats=repeats, seed=seed) | results)
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
