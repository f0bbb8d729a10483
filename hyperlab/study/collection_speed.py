"""Recording many fine-tunings: tasks side by side against one after another, the same steps."""

import copy
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base import ConfigError, Progress, silent, stream
from ..hyperflow.teacher import Supports, TeacherConfig, fine_tune
from ..models.targets import Target, leave_one_out_loss
from ..tasks import augment
from ..tasks.episodes import LabelledImages
from .timing import median_s

Record = tuple[Tensor, Tensor]  # thetas (tasks, knots, params), losses (tasks, knots)
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
    rivals = {name: Rival(run, []) for name, run in runs.items()}
    for _ in progress(range(repeats), total=repeats, desc="rounds"):
        for rival in rivals.values():
            rival.seconds.append(median_s(rival.run, repeats=1))
    curves = {name: rival.run()[1] for name, rival in rivals.items()}
    return {name: _row(rivals, curves, name) for name in rivals}


def _row(
    rivals: dict[str, Rival], curves: dict[str, Tensor], name: str
) -> dict[str, float]:
    own, loop = rivals[name].seconds, rivals["loop"].seconds
    return {
        "seconds": statistics.median(own),
        "ratio": statistics.median(a / b for a, b in zip(loop, own, strict=True)),
        "difference": float((curves[name] - curves["loop"]).abs().max()),
    }
