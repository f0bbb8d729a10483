"""Time the recording of fine-tunings against a plain loop over tasks; write one JSON file."""

import copy
import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

from hyperlab import executor
from hyperlab.base import ConfigError, Progress, choose, silent, stream
from hyperlab.evaluation.timing import seconds
from hyperlab.hyperflow.collect import (
    IMAGES,
    CollectConfig,
    collect,
    config_of,
    draw_tasks,
    fine_tuned,
    passes,
    record,
)
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune
from hyperlab.hyperflow.trajectories import TrajectoryStore
from hyperlab.models import targets
from hyperlab.models.targets import Target, leave_one_out_loss
from hyperlab.tasks import augment, domains, episodes
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.tasks.protocols import PROTOCOLS

import torch
import typer
from torch import Tensor, nn
from tqdm.auto import tqdm

import script
import study

Record = tuple[Tensor, Tensor]  # thetas (tasks, knots, params), losses (tasks, knots)
VIT_S = "vit_small_patch16_224"
Forward = Callable[[nn.Module, Tensor], Tensor]


def whole_forward(model: nn.Module, images: Tensor) -> Tensor:
    """timm's own forward pass: every token through every block."""
    return model.forward_head(model.forward_features(images))


def short_forward(model: nn.Module, images: Tensor) -> Tensor:
    """The target's forward pass: the last block for the class token alone."""
    return model(images)


def one_by_one(
    target: Target,
    supports: Sequence[LabelledImages],
    config: TeacherConfig,
    forward: Forward = whole_forward,
) -> Record:
    """The ordinary way: a task, a `torch.optim.Adam` on the model's biases, the next task."""
    model = copy.deepcopy(target.model)
    moving = [p for name, p in model.named_parameters() if name in target.subset.names]
    start = [p.detach().clone() for p in moving]
    paths, curves = [], []
    for i, support in enumerate(supports):
        for p, value in zip(moving, start, strict=True):
            p.requires_grad_(False).copy_(value).requires_grad_()
        optimiser = torch.optim.Adam(moving, lr=config.lr)
        path, curve, generator = [], [], stream(0, "views", i)
        for step in range(config.steps + 1):
            views = [augment.view(support.images, generator) for _ in range(config.views)]
            with torch.set_grad_enabled(step < config.steps):
                loss = _loss(target, lambda x: forward(model, x), support, views)
            path.append(torch.cat([p.detach() for p in moving]))
            curve.append(loss.detach())
            if step < config.steps:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        paths.append(torch.stack(path))
        curves.append(torch.stack(curve))
    return torch.stack(paths), torch.stack(curves)


def _loss(
    target: Target,
    features: Callable[[Tensor], Tensor],
    support: LabelledImages,
    views: Sequence[Tensor],
) -> Tensor:
    labels, scale = support.labels.to(target.device), target.logit_scale
    found = features(target.prepare(torch.cat(list(views)))).split(len(labels))
    each = [leave_one_out_loss(x, labels, support.n_way, scale) for x in found]
    return torch.stack(each).mean()


def in_groups(
    target: Target, supports: Sequence[LabelledImages], config: TeacherConfig, size: int
) -> Record:
    """`size` tasks at a time through the package's `fine_tune`."""
    paths, curves = [], []
    for first in range(0, len(supports), size):
        part = supports[first : first + size]
        views = [stream(0, "views", first + i) for i in range(len(part))]
        steps = list(fine_tune(target, Supports.join(part), config, views))
        paths.append(torch.stack([theta for theta, _ in steps], 1))
        curves.append(torch.stack([loss for _, loss in steps], 1))
    return torch.cat(paths), torch.cat(curves)


@dataclass(frozen=True)
class Rival:
    """A way to record, and how long it took in every round."""

    run: Callable[[], Record]
    seconds: list[float]


def compare(
    target: Target,
    supports: Sequence[LabelledImages],
    config: TeacherConfig,
    *,
    sizes: Sequence[int] = (1, 2, 4, 8),
    repeats: int = 5,
    progress: Progress = silent,
) -> dict[str, dict[str, float]]:
    """Every way in turn, round after round, so that a slow minute slows them all.

    The last way is the package's own: a worker with one thread for each of torch's threads.

    Returns:
        For each way the median `seconds`, `ratio` (how many times as long the whole loop took;
        median over the rounds) and `difference` (largest, of support losses, from the loop's).

    Raises:
        ConfigError: the teacher is not Adam, or nothing is to be repeated.
    """
    if config.optimiser != "adam" or repeats < 1:
        raise ConfigError(f"want Adam and at least one repeat, got {config}, {repeats}")
    args = (target, supports, config)
    runs: dict[str, Callable[[], Record]] = {
        "loop": lambda: one_by_one(*args),
        "loop, short last block": lambda: one_by_one(*args, short_forward),
    }
    runs |= {f"groups of {n}": lambda n=n: in_groups(*args, n) for n in sizes}
    workers = torch.get_num_threads()
    with executor.processes(_part, args, workers) as pool:
        name = f"{workers} workers of one thread, passes of {IMAGES[target.device.type]} images"
        runs[name] = lambda: by_workers(pool, supports, target.device)
        rivals = {name: Rival(run, []) for name, run in runs.items()}
        curves = {
            name: rival.run()[1] for name, rival in rivals.items()
        }  # warms up as well
        for _ in progress(range(repeats), total=repeats, desc="rounds"):
            for rival in rivals.values():
                rival.seconds.append(seconds(rival.run))
    return {name: _row(rivals, curves, name) for name in rivals}


def by_workers(
    pool: Executor, supports: Sequence[LabelledImages], device: torch.device
) -> Record:
    """Every worker takes the next pass when it is done with one."""
    sizes = [len(support.labels) for support in supports]
    records = pool.map(executor.settled, passes(sizes, IMAGES[device.type]))
    paths, curves = (torch.cat(column) for column in zip(*records, strict=True))
    return paths, curves


def _part(
    args: tuple[Target, Sequence[LabelledImages], TeacherConfig], rows: slice
) -> Record:
    target, supports, config = args
    names = [(0, "views", i) for i in range(rows.start, rows.stop)]
    return fine_tuned(target, supports[rows], config, names)


@dataclass(frozen=True)
class Plan:
    """What is recorded, by every way alike."""

    backbone: str
    image_size: int  # pixels
    kind: str  # of the tasks: a protocol, or "ragged"
    tasks: int
    steps: int  # of Adam
    rounds: int


PLANS = {
    "vit_micro, 5-way 5-shot": Plan("vit_micro", 32, "5-way 5-shot", 20, 10, 5),
    "vit_micro, 300 to 400 images": Plan("vit_micro", 32, "ragged", 8, 3, 5),
    "ViT-S/16 at 128 px, 5-way 5-shot": Plan(VIT_S, 128, "5-way 5-shot", 10, 2, 3),
    "ViT-S/16 at 128 px, 300 to 400 images": Plan(VIT_S, 128, "ragged", 2, 1, 3),
}
AT = {
    "smoke": [],
    "laptop": list(PLANS)[:2],
    "paper": list(PLANS),
}  # scale -> which of them
SIZES = {"cpu": (5,), "cuda": (1, 8, 64)}  # tasks in a group


def measure(
    plan: Plan, device: torch.device, *, seed: int, progress: Progress = silent
) -> dict[str, object]:
    """The plan, and `compare` for it. A backbone other than `vit_micro` has random weights."""
    is_small = plan.backbone == "vit_micro"
    options = {"pretrained": is_small, "image_size": plan.image_size}
    target = targets.load(plan.backbone, **options).to(device)
    supports = draw(plan.kind, plan.tasks, seed=seed)
    teacher = TeacherConfig(steps=plan.steps, lr=0.03, optimiser="adam")
    small = plan.kind != "ragged"  # a large task is a group by itself
    sizes = [n for n in choose(SIZES, device.type) if n <= plan.tasks and small]
    settings = {"sizes": sizes, "repeats": plan.rounds, "progress": progress}
    return asdict(plan) | {"ways": compare(target, supports, teacher, **settings)}


def draw(kind: str, n: int, *, seed: int) -> list[LabelledImages]:
    """Support sets of digits: of a protocol, or "ragged": 300 to 400 images, as Meta-Dataset's."""
    digits = domains.load("digits")
    if kind != "ragged":
        streams = (stream(seed, kind, i) for i in range(n))
        return [choose(PROTOCOLS, kind).draw(digits, generator=g).support for g in streams]
    found = []
    for i in range(n):  # the largest first, so that no worker is left with it at the end
        shots = 40 - 10 * (2 * i + 1) // (2 * n)
        rule = {"n_way": 10, "n_shot": shots, "n_query": 1}
        task = episodes.sample(digits, **rule, generator=stream(seed, kind, i))
        found.append(task.support)
    return found


def writing_share(target: Target, store: TrajectoryStore, batch: int) -> dict[str, float]:
    """Seconds that drawing, fine-tuning and writing one batch of a store take.

    The batch is written over itself.
    """
    config = config_of(store)
    found: dict[str, object] = {}
    spent = {
        "drawing": seconds(lambda: found.update(tasks=list(draw_tasks(config, batch)))),
        "fine-tuning": seconds(
            lambda: found.update(arrays=record(target, found["tasks"], config, batch))
        ),
        "writing": seconds(lambda: store.write(batch, found["arrays"])),
    }
    return spent | {"share": spent["writing"] / sum(spent.values())}


def _row(
    rivals: dict[str, Rival], curves: dict[str, Tensor], name: str
) -> dict[str, float]:
    own, loop = rivals[name].seconds, rivals["loop"].seconds
    return {
        "seconds": statistics.median(own),
        "ratio": statistics.median(a / b for a, b in zip(loop, own, strict=True)),
        "difference": float((curves[name] - curves["loop"]).abs().max()),
    }


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    threads: Annotated[int, typer.Option(help="processor threads")] = 2,
    device: script.Device = "auto",
    out: Annotated[Path, typer.Option(help="the file to write")] = Path(
        "results/bench_collection.json"
    ),
) -> None:
    """Seconds of every way to record the same trajectories; what writing them costs."""
    torch.set_num_threads(threads)
    place = script.place(device)
    plans, rows = PLANS, {}
    names = choose(AT, scale)
    for name in names:
        plan = plans[name]
        rows[name] = measure(plan, place, seed=seed, progress=tqdm)
    target = targets.load("vit_micro").to(place)
    with tempfile.TemporaryDirectory() as folder:
        plan = replace(CollectConfig.at(scale), n_tasks=8, batch=8, seed=seed)
        store = collect(target, Path(folder) / "store", plan)
        parts = writing_share(target, store, 0)
    facts = {"seconds of 8 tasks": parts, "recording": rows}
    study.write(out, study.about("torch", "timm") | facts)
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
