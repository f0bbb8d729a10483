"""Does following the learned flow find the end of the very fine-tunings it was learned from?"""

from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Progress, silent
from ..hyperflow.adapt import HyperFlow
from ..hyperflow.drift import DriftNetwork
from ..models.targets import Target
from ..tasks.episodes import LabelledImages


def recover(
    target: Target,
    tasks: Iterable[tuple[LabelledImages, Float[Tensor, " knots params"]]],
    nets: Mapping[str, DriftNetwork],
    *,
    n_tasks: int,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Where each flow ends on recorded tasks, against where their fine-tuning ended.

    Args:
        tasks: support set and recorded path, as `collect.redrawn` gives them.

    Columns: task, method, recovered (share of the fall of the plain support loss; fine-tuning: 1),
    error (|theta - theta_tuned| / |theta_tuned - theta0|; no adaptation: 1), cosine, length.
    """
    rows = []
    for number, (support, path) in enumerate(progress(tasks, total=n_tasks, desc="tasks")):
        start, end = path[0], path[-1]
        first, last = (target.support_loss(theta, support) for theta in (start, end))
        for name, net in nets.items():
            theta = HyperFlow(net=net)(target, support)
            fall = first - target.support_loss(theta, support)
            found = {"task": number, "method": name, "recovered": fall / (first - last)}
            rows.append(found | nearness(theta - start, end - start))
    return pd.DataFrame(rows)


def nearness(moved: Tensor, tuned: Tensor) -> dict[str, float]:
    """Relative error, cosine and relative length of a displacement."""
    return {
        "error": float((moved - tuned).norm() / tuned.norm()),
        "cosine": float(torch.cosine_similarity(moved, tuned, dim=0)),
        "length": float(moved.norm() / tuned.norm()),
    }
