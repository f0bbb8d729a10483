"""L or C, and how far: a rule that picks from the support set alone, fixed choices, the oracle.
Candidates are adapted on the support set, or on half of it; a score says which of them suits that
task. What a rule gains is held against every fixed candidate, and against the oracle, which looks
at the query images and is no method at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, Progress, silent
from hyperlab.evaluation import claims, experiments
from hyperlab.evaluation.experiments import EvalConfig, chosen, trials
from hyperlab.hyperflow import adapt, jacobian_flow
from hyperlab.hyperflow.adapt import Method
from hyperlab.models import targets
from hyperlab.models.targets import Target
from hyperlab.tasks.episodes import Episode, LabelledImages

import pandas as pd
import torch
import typer
from jaxtyping import Bool
from torch import Tensor
from tqdm import tqdm

import script

Score = Callable[[Target, Method, LabelledImages], float]  # lower is better
ORACLE = "oracle (sees the queries)"


def support_loss(target: Target, method: Method, support: LabelledImages) -> float:
    """Leave-one-out loss of the support images themselves, after adapting to them."""
    view = method.view(target)
    return view.support_loss(method(view, support), support)


def other_half(target: Target, method: Method, support: LabelledImages) -> float:
    """Loss of one half of the support set after adapting to the other, both ways round.

    Raises:
        ConfigError: one image of every class: the other half would be the same images.
    """
    if len(support.labels) == support.n_way:
        raise ConfigError(
            f"{support.n_way} classes of one image each have no other half; take a protocol of "
            "two shots or more"
        )
    view = method.view(target)
    losses = [
        held_out_loss(view, method(view, seen), seen, unseen)
        for seen, unseen in halves(support)
    ]
    return sum(losses) / len(losses)


def held_out_loss(
    target: Target, theta: Tensor, seen: LabelledImages, unseen: LabelledImages
) -> float:
    """Cross-entropy of the unseen images under the prototypes of the seen ones."""
    with torch.no_grad():
        logits = target.logits(theta, seen, unseen.images)
    return float(torch.nn.functional.cross_entropy(logits, unseen.labels.to(logits.device)))


def halves(support: LabelledImages) -> list[tuple[LabelledImages, LabelledImages]]:
    """Every second image of each class against the others: (seen, unseen), both ways round.

    A lone image is seen both times, for its class would be missing, and never among the unseen.
    """
    labels, rank = support.labels, support.rank
    alone = torch.bincount(labels, minlength=support.n_way)[labels] == 1

    def part(keep: Bool[Tensor, " n"]) -> LabelledImages:
        return replace(support, images=support.images[keep], labels=labels[keep])

    even = rank % 2 == 0
    sides = (even, ~even)
    return [(part(one | alone), part(~one & ~alone)) for one in sides]


RULES: Mapping[str, Score] = {
    "lowest support loss": support_loss,
    "lowest loss of the other half": other_half,
}


def pick(
    target: Target,
    candidates: Sequence[Method],
    config: EvalConfig,
    *,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy of every candidate, rule and oracle on every task, and who was picked how often.

    Returns:
        A table as `experiments.evaluate` makes it, and rows (rule, domain, task, picked).
    """
    rows, picked = [], []
    total = config.n_tasks * len(chosen(config, root))
    drawn = progress(trials(config, root=root), total=total, desc="rules")
    for trial in drawn:
        episode = trial.episode
        accuracy = {m.name: judged(target, m, episode) for m in candidates}
        choice = {
            rule: min(candidates, key=lambda m, s=score: s(target, m, episode.support)).name
            for rule, score in RULES.items()
        }
        choice[ORACLE] = max(accuracy, key=accuracy.get)
        accuracy |= {rule: accuracy[name] for rule, name in choice.items()}
        task = {"role": config.role, "domain": trial.domain, "task": trial.number}
        rows += [task | {"method": m, "accuracy": a} for m, a in accuracy.items()]
        picked += [task | {"rule": r, "picked": name} for r, name in choice.items()]
    return pd.DataFrame(rows), pd.DataFrame(picked)


def judged(target: Target, method: Method, episode: Episode) -> float:
    """Accuracy of a method on the queries of an episode."""
    view = method.view(target)
    return view.accuracy(method(view, episode.support), episode)


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/rules"),
    data: script.Data = None,
    role: Annotated[str, typer.Option(help="of the domains: tasks/roles.py")] = "held_out",
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "variable",
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
) -> None:
    """CPU, one core: five seconds a task."""
    n = script.n_tasks(n_tasks, scale, 20)
    config = experiments.EvalConfig(
        role=role, protocol=protocol, seed=seed, n_tasks=n, only=script.words(only)
    )
    straight = {"net": jacobian_flow.load("linear"), "name": "Jacobian flow L"}
    bent = adapt.LearnedFlow(net=jacobian_flow.load("cubic"), name="Jacobian flow C")
    candidates = [
        adapt.NoAdaptation(),
        adapt.LearnedFlow(**straight, method="euler", steps=1),
        replace(bent, name=f"{bent.name} to t = 0.5", length=0.5, steps=5),
        bent,
        replace(bent, name=f"{bent.name} to t = 2", length=2.0, steps=20),
    ]
    target = targets.load("vit_micro")
    table, picked = pick(target, candidates, config, root=data, progress=tqdm)
    often = picked.groupby(["rule", "picked"]).size().unstack(fill_value=0)
    claims.write(table, out, claims.about(config) | {"picked": often.to_dict("index")})
    print(f"wrote {out}.json, .md and .html")


if __name__ == "__main__":
    script.run(main)
