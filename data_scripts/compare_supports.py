"""More support images, 25 to 400: accuracy, and what of a displacement is the task's own.
A displacement is split in two. Its domain's mean is what any task of the domain would do; the rest
is the task's own, plus the noise of having seen these images and not others.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, Progress, silent, stream
from hyperlab.evaluation import claims, experiments, methods
from hyperlab.evaluation.experiments import EvalConfig, open_domains, summarise
from hyperlab.evaluation.methods import TEACHER
from hyperlab.evaluation.tables import rounded
from hyperlab.hyperflow.adapt import Method
from hyperlab.models import targets
from hyperlab.models.targets import Target
from hyperlab.tasks import episodes
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import Episode

import pandas as pd
import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script
import study

TWO_TASKS = "what a domain's tasks have in common takes two tasks of it or more"
Displacements = Mapping[str, Float[Tensor, " tasks params"]]  # of each domain


@dataclass(frozen=True, eq=False)
class Sizes:
    """The same tasks with more and more support images.

    Args:
        table: one row per domain, task, method and n_support: accuracy in [0, 1].
        moved: (method, n_support) -> displacements of each domain's tasks.
    """

    table: pd.DataFrame
    moved: Mapping[tuple[str, int], Displacements]


def first_shots(episode: Episode, n_shot: int) -> Episode:
    """The same task with the first `n_shot` support images of each class."""
    support = episode.support
    return replace(episode, support=support.at_most(n_shot * support.n_way))


def grow(
    target: Target,
    methods: Sequence[Method],
    config: EvalConfig,
    shots: Sequence[int] = (5, 10, 20, 40, 80),
    *,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> Sizes:
    """Every method on 5-way tasks with 5 shots, then 10, and so on: 25 to 400 support images.

    Queries stay, and small support sets lie in the large ones. Domains with smaller classes are
    left out.

    Raises:
        ConfigError: no domain is left, or one task a domain: it has no part of its own.
    """
    if config.n_tasks < 2:
        raise ConfigError(f"{TWO_TASKS}, got {config.n_tasks}")
    most = max(shots)
    opened = large(open_domains(config, root=root), most + 15, config.role)
    rows, moved = [], {}
    tasks = [(name, domain, i) for i in range(config.n_tasks) for name, domain in opened]
    for name, domain, i in progress(tasks, total=len(tasks), desc="support sizes"):
        generator = stream(config.seed, "supports", name, i)
        whole = episodes.sample(domain, n_shot=most, generator=generator)
        for n_shot in shots:
            episode = first_shots(whole, n_shot)
            for method in methods:
                view = method.view(target)
                theta = method(view, episode.support)
                row = {"domain": name, "task": i, "n_support": 5 * n_shot}
                row |= {"method": method.name, "accuracy": view.accuracy(theta, episode)}
                rows.append(row)
                displacements = moved.setdefault((method.name, 5 * n_shot), {}).setdefault(
                    name, []
                )
                displacements.append(theta - view.theta0)
    stacked = {k: {d: torch.stack(x) for d, x in by.items()} for k, by in moved.items()}
    return Sizes(pd.DataFrame(rows), stacked)


def large(
    opened: Iterable[tuple[str, Domain]], least: int, role: str
) -> list[tuple[str, Domain]]:
    """The domains with `least` images of every class; ConfigError if there is none."""
    found = [(name, domain) for name, domain in opened if int(domain.counts.min()) >= least]
    if not found:
        raise ConfigError(f"no domain of role {role!r} has {least} images a class")
    return found


def common_share(moved: Displacements) -> float:
    """Share of the squared displacement that a domain's tasks have in common, without bias.

    With m the mean and s^2 the variance (ddof 1, summed over the parameters) of n tasks,
    |m|^2 - s^2 / n estimates the square of the true mean; the share is that over |m|^2 - s^2/n
    + s^2, averaged over the domains.
    """
    shares = []
    for delta in moved.values():
        if len(delta) < 2:
            raise ConfigError(TWO_TASKS)
        spread = float(delta.var(0).sum())
        common = float(delta.mean(0).square().sum()) - spread / len(delta)
        shares.append(max(common, 0.0) / (max(common, 0.0) + spread))
    return sum(shares) / len(shares)


def foretold(predicted: Displacements, true: Displacements) -> tuple[float, float]:
    """Cosine of predicted and true domain means, and of what is left of each task: own parts."""
    common, own = [], []
    for domain, p in predicted.items():
        t = true[domain]
        common.append(torch.cosine_similarity(p.mean(0), t.mean(0), dim=0))
        own.append(torch.cosine_similarity(p - p.mean(0), t - t.mean(0), dim=1).mean())
    return float(torch.stack(common).mean()), float(torch.stack(own).mean())


def report(sizes: Sizes, *, learned: str) -> dict[str, list[dict[str, object]]]:
    """By support size: accuracies and gains of domains; shares of fine-tuning's displacement."""
    accuracies, shares = [], []
    for n_support, part in sizes.table.groupby("n_support"):
        summary = summarise(part.assign(role="held_out"))
        accuracies += [
            {"n_support": int(n_support), **row}
            for row in rounded(summary.to_dict("records"))
        ]
        true, predicted = (sizes.moved[name, n_support] for name in (TEACHER, learned))
        common, own = foretold(predicted, true)
        shares.append(
            {
                "n_support": int(n_support),
                "common share of fine-tuning": round(common_share(true), 4),
                f"common share of {learned}": round(common_share(predicted), 4),
                "cosine of the common parts": round(common, 4),
                "cosine of the own parts": round(own, 4),
                "length of fine-tuning": round(length(true), 4),
                f"length of {learned}": round(length(predicted), 4),
            }
        )
    return {
        "domains": sorted(sizes.table.domain.unique()),
        "rows": accuracies,
        "shares": shares,
    }


def length(moved: Displacements) -> float:
    """Mean length of the displacements."""
    return float(torch.cat(list(moved.values())).norm(dim=1).mean())


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="to write")] = Path("results/supports.json"),
    data: script.Data = None,
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
    shots: Annotated[str, typer.Option(help="a class; empty: the scale's")] = "",
) -> None:
    """Held-out domains with enough images. CPU, one core: half a minute a task."""
    usual = "1,2" if scale == "smoke" else "5,10,20,40,80"
    counts = script.numbers(shots or usual, "--shots")
    n = script.n_tasks(n_tasks, scale, 6)
    config = experiments.EvalConfig(
        protocol="5-way 5-shot", n_tasks=n, seed=seed, only=script.words(only)
    )
    learned = methods.Learned(nets=methods.networks(["Jacobian flow C=cubic"]))
    names = [methods.BASELINE, methods.TEACHER, "Jacobian flow C"]
    chosen, target = methods.named(names, learned), targets.load("vit_micro")
    sizes = grow(target, chosen, config, counts, root=data, progress=tqdm)
    facts = {"about": claims.about(config)} | report(sizes, learned="Jacobian flow C")
    study.write(out, facts)
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
