"""What must a drift see, and what does each part of it add? Learning curves and an ablation.

Every network is trained on the first tasks of one store and judged on tasks of domains that gave
none: error at t = 0, error of the end point, and accuracy after its roll-out. "Teacher again" is
fine-tuning with other augmented views: no drift can be nearer to a path than that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, stream
from hyperlab.evaluation import diagnostics, timing
from hyperlab.evaluation.tables import Row, interval
from hyperlab.hyperflow import collect, drift, jacobian_flow, training
from hyperlab.hyperflow.drift import Drift
from hyperlab.hyperflow.training import DriftConfig
from hyperlab.hyperflow.trajectories import Trajectories, TrajectoryStore
from hyperlab.identity import checksum
from hyperlab.models import targets
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import Episode

import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script
import study
import train_drift

AGAIN = "teacher again"
LINEAR = {"path": "linear"}
NETWORKS = {  # the settings that differ from `DriftConfig`
    "HyperFlow-L": LINEAR,
    "HyperFlow-P": {"path": "piecewise"},
    "HyperFlow-C": {},
    "HyperFlow-C of every 8th knot": {"every": 8},
    "HyperFlow-L without theta": LINEAR | {"sees_theta": False},
    "HyperFlow-L without noise": LINEAR | {"noise": 0.0},
    "HyperFlow-L without t = 0": LINEAR | {"at_start": 0.0},
    "HyperFlow-L without hiding": LINEAR | {"hide": 0.0},
    "Jacobian flow corrected": {"every": 8},
}
OURS = "Jacobian flow"


@dataclass(frozen=True, eq=False)
class Judge:
    """Recorded tasks of other domains, drawn again with their query images."""

    target: Target
    data: Trajectories
    episodes: list[Episode]

    @classmethod
    def of(cls, target: Target, store: TrajectoryStore, root: Path | None) -> "Judge":
        batches = [collect.tasks_of(store, b, root=root) for b in store.there]
        tasks = [task.episode for batch in batches for task in batch]
        sound = [tasks[i] for i in store.sound]
        return cls(target, store.read(), sound)

    def accuracy(self, thetas: Float[Tensor, " tasks params"]) -> Float[Tensor, " tasks"]:
        """Share of each task's queries that are right, in [0, 1]."""
        pairs = zip(thetas, self.episodes, strict=True)
        return torch.tensor([self.target.accuracy(theta, e) for theta, e in pairs])

    def row(self, ends: Tensor, first: diagnostics.Fit, end: diagnostics.Fit) -> Row:
        """Errors, cosines, and the gain of accuracy over the domains, in points."""
        gains = 100 * (self.accuracy(ends) - self.accuracy(self.data.thetas[:, 0]))
        means = [gains[self.data.domain == d].mean() for d in self.data.domain.unique()]
        gain, half = float(torch.stack(means).mean()), interval(torch.stack(means))
        found = {"t = 0: error": first.error, "t = 0: cosine": first.cosine}
        found |= {"end: error": end.error, "end: cosine": end.cosine}
        found |= {"gain": gain, "+-": half}
        return {key: round(x, 4) for key, x in found.items()}

    def drift(self, net: Drift, path: str) -> Row:
        """The row of a drift, whose roll-out is solved by ten Chebyshev steps."""
        first = diagnostics.on_path(net, self.data, path=path, unit=self.data.unit())
        end = diagnostics.end_points(net, self.data, unit=self.data.unit())
        return self.row(diagnostics.rollouts(net, self.data)[-1], first, end)

    def teacher(self, config: collect.CollectConfig, name: str) -> Row:
        """The row of the recorded fine-tuning itself, or of it again with other views."""
        data, supports = self.data, [e.support for e in self.episodes]
        thetas = data.thetas
        if name == AGAIN:
            names = [(config.seed, AGAIN, i) for i in range(len(supports))]
            thetas, _ = collect.fine_tuned(self.target, supports, config.teacher, names)
        fits = [
            diagnostics.compare(
                thetas[:, k] - thetas[:, 0],
                data.thetas[:, k] - data.thetas[:, 0],
                data.unit(),
                token_size=data.token_size,
            )
            for k in (1, -1)
        ]
        return self.row(thetas[:, -1], *fits)


def trained(
    name: str, store: TrajectoryStore, n_tasks: int, steps: int, folder: Path, seed: int
) -> Drift:
    """A network of `NETWORKS`, read where it was trained before on just this."""
    config = replace(DriftConfig(steps=steps), **choose(NETWORKS, name))
    batches, held_out = store.split(n_tasks)
    data = train_drift.fed(store, batches, config, memory=1.0, device="cpu")
    validation = store.read(held_out)
    flow = jacobian_flow.load() if "corrected" in name else None
    options = {"validation": validation, "correcting": flow, "progress": tqdm}
    generator = stream(seed, "drift", config.path)
    net, history = training.fit_drift(data, config, generator=generator, **options)
    path = folder / f"{name.replace(' ', '_')}-{n_tasks}-{steps}.safetensors"
    about = {"command": timing.command(), "seed": seed, "tasks": len(data)}
    about |= {"config": config, "domains": list(data.sample.domains)}
    about["validation"] = {k: round(x, 4) for k, x in history.validation.items()}
    drift.save(net, path, {key: str(value) for key, value in about.items()})
    if flow is None:
        return net
    flow.correction = net
    return flow


def table(rows: Mapping[str, Row]) -> str:
    """Markdown: a row for each drift, number of trajectories and of gradient steps."""
    columns = ["t = 0: error", "t = 0: cosine", "end: error", "end: cosine"]
    head = ["drift", "trajectories", "steps", *columns, "gain, points"]
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * (len(head) - 1)]
    for key, row in rows.items():
        name, n, steps = (key.split(", ") + ["", ""])[:3]
        cells = [name, n, steps, *(f"{row[c]:.2f}" for c in columns)]
        lines.append(f"| {' | '.join(cells)} | {row['gain']:+.1f} ± {row['+-']:.1f} |")
    return "\n".join(lines) + "\n"


STUDY = study.Study("drifts", table)


def main(
    store: Annotated[str, typer.Argument(help="made by collect_trajectories.py")],
    judged: Annotated[str, typer.Argument(help="another, of the role validation")],
    sizes: Annotated[str, typer.Option(help="numbers of tasks")] = "700,3000,10000,40000",
    names: Annotated[str, typer.Option(help="of the drifts; empty: all")] = "",
    steps: Annotated[int, typer.Option(help="of each training")] = 12_000,
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "results/drifts.json"
    ),
    folder: Annotated[Path, typer.Option(help="of the networks")] = Path(
        "artifacts/drifts"
    ),
    data: script.Data = None,
) -> None:
    """An hour for each network of ten thousand tasks on two cores. Goes on where it stopped."""
    target, recorded = targets.load("vit_micro"), TrajectoryStore.open(store)
    judge = Judge.of(target, study.reopen(judged, target), data)
    config = collect.config_of(TrajectoryStore.open(judged))
    shared = {"judged": checksum(judge.data.thetas), "steps": steps, "seed": seed}
    calls = {n: partial(judge.teacher, config, n) for n in ("teacher", AGAIN)}
    calls[OURS] = lambda: judge.drift(jacobian_flow.load(), "cubic")
    for n in map(int, script.words(sizes)):
        for name in script.words(names) or NETWORKS:
            options = (name, recorded, n, steps, folder, seed)
            calls[f"{name}, {n}, {steps}"] = partial(theirs, judge, *options)
    asked = {key: shared | {"store": str(recorded.group.attrs["config"])} for key in calls}
    about = study.about("torch", tasks=len(judge.data))
    STUDY.run(out, asked, lambda key: calls[key](), about)


def theirs(judge: Judge, name: str, *options: object) -> Row:
    return judge.drift(trained(name, *options), NETWORKS[name].get("path", "cubic"))


if __name__ == "__main__":
    script.run(main)
