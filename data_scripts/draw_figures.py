"""Draw the README's picture: the stepper of notebook 07, 40 steps on a task; GIF, PNG, JSON."""

import json
from pathlib import Path
from typing import Annotated

from hyperlab import params
from hyperlab.apps import film
from hyperlab.apps.bench import Bench, Reading, unseen
from hyperlab.apps.stepper import Stepper
from hyperlab.base import choose, whole_file
from hyperlab.hyperflow import drift
from hyperlab.models import targets
from hyperlab.study import timing

import typer
from tqdm import tqdm

import script


def walk(state: Stepper, method: str, steps: int) -> tuple[Reading, ...]:
    """The readings from t = 0 to 1."""
    state.method, state.steps = method, steps
    state.reset()
    for _ in tqdm(range(steps), desc=f"{steps} {method} steps"):
        state.step()
    return state.readings


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: 4 steps; laptop, paper: 40")
    ] = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="folder of the pictures")] = Path("results"),
) -> None:
    """Task 0 of drawn circuits, which nothing was fitted to. CPU, one core: half a minute."""
    n_steps = choose({"smoke": 4, "laptop": 40, "paper": 40}, scale)
    target = targets.load("vit_micro", subset=params.qkv_biases)
    domains, nets = {"circuits": unseen()["circuits"]}, {"C": drift.load("cubic")}
    state = Stepper(Bench(target=target, nets=nets, domains=domains, seed=seed))
    shown = film.Film(state.task, walk(state, "euler", n_steps))
    pictures = film.draw([shown.figure(k) for k in range(n_steps + 1)])
    film.keep(pictures, out / "stepper.gif")
    with whole_file(out / "stepper.png") as draft:
        pictures[-1].save(draft, format="png", optimize=True)
    facts = {"command": timing.command(), "scale": scale, "seed": seed}
    facts |= {"backbone": "vit_micro", "network": state.net, "solver": state.method}
    facts |= shown.facts()
    facts["four_euler_steps"] = round(walk(state, "euler", 4)[-1].accuracy, 4)
    facts["eight_chebyshev_steps"] = round(walk(state, "chebyshev", 8)[-1].accuracy, 4)
    facts |= {"versions": timing.versions(["torch", "timm", "plotly"])}
    with whole_file(out / "stepper.json") as draft:
        draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {out}/stepper.gif, stepper.png and stepper.json")


if __name__ == "__main__":
    script.run(main)
