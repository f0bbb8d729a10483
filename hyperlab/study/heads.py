"""Few-shot heads beside every other way to adapt, on the same seeded tasks.

Every method leaves an accuracy for each task; those that draw heads are averaged over the seeds of
their generators before anything is compared, so that intervals are over tasks.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError, Progress, choose, distinct, silent, stream
from ..hyperflow.adapt import Method, classifier
from ..hyperflow.controls import n_shared
from ..models.targets import LOGIT_SCALE, Target
from ..tasks import roles
from ..tasks.episodes import LabelledImages
from ..weights import heads
from ..weights.head_generators import GeneratorConfig, HeadGenerator, fit_generator
from ..weights.heads import Bank, BaseConfig, HeadSet, Whitening, head_logits, tell
from . import cost, methods
from .audit import before_any_task
from .experiments import EvalConfig, Trial, open_domains, trials

ROLES = {"in domain": "in_domain", "unseen": "held_out"}
PROTOCOLS = ("5-way 1-shot", "5-way 5-shot")
# scikit-learn's, on features of length 10. Validation, C = 0.1, 1, 10: 56.5, 56.3, 56.2 % with one
# shot and 71.1, 72.3, 72.6 % with five: the best lies at either edge, 1 between them.
RIDGE_C = 1.0
# All three generate what is missing from the support's own head, see `GeneratorConfig.residual`.
FLOW, DIFFUSION, LINEAR = "residual flow", "residual diffusion", "linear map"
WHOLE = f"{FLOW} of whole heads"
# What their random streams are called: the names that they had when heads.json was made.
STREAMS = {FLOW: "FLoWN", WHOLE: "FLoWN of whole heads", DIFFUSION: "diffusion"}
REGRESSION = "logistic regression"
FLOWS = ("HyperFlow-L", "HyperFlow-C")
Accuracies = dict[str, Float[Tensor, " tasks"]]


@dataclass(frozen=True, kw_only=True)
class HeadsConfig:
    """What is fitted, and on how many tasks it is tried."""

    base: BaseConfig = BaseConfig()
    generator: GeneratorConfig = GeneratorConfig()
    seeds: tuple[int, ...] = (0, 1, 2)  # of the generators
    n_samples: int = 20  # heads for a task
    steps: int = 10  # of the solver, and of the diffusion
    top: int = 3  # samples that are chosen
    n_tasks: int = 12  # of a domain
    n_tuned: int = 4  # of them, those that every gradient method meets
    only: tuple[str, ...] = ()  # names of domains to be tried on; empty: all
    sources: tuple[str, ...] = ()  # of base tasks; empty: all

    def __post_init__(self) -> None:
        distinct(self.seeds, "seeds")
        if not 1 <= self.top < self.n_samples:
            raise ConfigError(
                f"{self.top} of {self.n_samples} samples are no choice: want 1 <= top < n_samples"
            )

    @classmethod
    def at(cls, scale: str) -> "HeadsConfig":
        """Presets; "paper" is the largest, not FLoWN's table 6."""
        parts = {"base": BaseConfig.at(scale), "generator": GeneratorConfig.at(scale)}
        smoke = cls(
            **parts,
            seeds=(0, 1),
            n_samples=4,
            steps=2,
            n_tasks=2,
            n_tuned=1,
            only=("digits", "circuits", "characters", "signs"),
            sources=("characters", "signs"),
        )
        return choose(
            {"smoke": smoke, "laptop": cls(**parts), "paper": cls(**parts, n_tasks=200)},
            scale,
        )


def meet(
    asked: Sequence[EvalConfig], *, root: Path | str | None = None
) -> Iterator[list[Trial]]:
    """The tasks of each question about one role, the same as `experiments.trials`."""
    opened = dict(open_domains(asked[0], root=root))
    for ask in asked:
        yield list(trials(ask, opened, root=root))


class Seen(NamedTuple):
    """The frozen features of many tasks, classes apart."""

    support: Float[Tensor, " tasks way shots dim"]
    query: Float[Tensor, " tasks way n dim"]
    other: Float[Tensor, " tasks way shots dim"]  # support of another domain's task


def banks(
    target: Target,
    config: HeadsConfig,
    *,
    seed: int = 0,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, Bank]:
    """The features that base tasks are drawn from: the domains that gave trajectories."""
    there = roles.present("trajectories", root=root)
    there = [s for s in there if not config.sources or s.name in config.sources]
    drawing = roles.Drawing(
        n_classes=config.base.classes, n_per_class=config.base.per_class
    )
    found = {}
    for source in progress(there, total=len(there), desc="base domains"):
        domain = roles.open_source(source, "trajectories", root=root, drawing=drawing)
        generator = stream(seed, "bank", source.name)
        found[source.name] = heads.read_bank(
            target, domain, config.base, generator=generator
        )
    return found


def base_heads(
    found: Mapping[str, Bank], config: BaseConfig, *, seed: int = 0
) -> tuple[Whitening, HeadSet]:
    """The whitening that base tasks ask for, and both heads of every one of them."""
    how = {"n_shot": 1, "n_train": config.n_train, "generator": stream(seed, "whitening")}
    drawn = heads.draw_tasks(found, min(config.n_tasks, 1_000), **how)
    whiten = Whitening.fit(drawn.train)
    generator = stream(seed, "base heads")
    return whiten, heads.learn_heads(found, whiten, config, generator=generator)


def by_class(
    features: Float[Tensor, " n dim"], images: LabelledImages
) -> Float[Tensor, " way k dim"]:
    """The features of a task's images, classes apart.

    Raises:
        ConfigError: the classes have different numbers of images.
    """
    counts = torch.bincount(images.labels, minlength=images.n_way)
    if len(counts.unique()) > 1:
        raise ConfigError(
            f"heads want as many images of every class, got {counts.tolist()}"
        )
    order = images.labels.argsort(stable=True)
    return features[order.to(features.device)].unflatten(0, (images.n_way, -1)).cpu()


@torch.no_grad()
def look(target: Target, images: LabelledImages) -> Float[Tensor, " way k dim"]:
    """The same, from the images; ConfigError as `LabelledImages.require` raises."""
    images.require("task")
    return by_class(target.features(target.theta0, images.images), images)


def see(target: Target, met: Iterable[Trial]) -> Seen:
    """The features of all images of some tasks.

    Raises:
        ConfigError: a task whose wrong support set holds images of its own.
    """
    met = list(met)
    for t in met:
        if n := n_shared(t.other.support, t.episode.support):
            raise ConfigError(
                f"{t.domain}, task {t.number}: of its wrong support each of {n} images is its "
                "own; give another task's"
            )
    rows = [
        [look(target, x) for x in (t.episode.support, t.episode.query, t.other.support)]
        for t in met
    ]
    return Seen(*map(torch.stack, zip(*rows, strict=True)))


def correct(
    logits: Float[Tensor, "*some way n classes"],
) -> Float[Tensor, "*some"]:
    """The share of images whose own class has the largest logit."""
    own = torch.arange(logits.shape[-3], device=logits.device)[:, None]
    return (logits.argmax(-1) == own).float().mean((-1, -2))


def answers(
    drawn: Float[Tensor, "*#some way row"], features: Float[Tensor, "*#some way n dim"]
) -> Float[Tensor, "*all way n classes"]:
    """The logits of images that stand classes apart."""
    return head_logits(drawn, features.flatten(-3, -2)).unflatten(-2, features.shape[-3:-1])


def support_loss(
    drawn: Float[Tensor, "*#some way row"], support: Float[Tensor, "*#some way n dim"]
) -> Float[Tensor, "*all"]:
    """Mean cross-entropy of images that stand classes apart."""
    chances = answers(drawn, support).log_softmax(-1)
    return -chances.diagonal(0, -3, -1).mean((-1, -2))


def cosines(
    support: Float[Tensor, " tasks way shots dim"], query: Float[Tensor, " tasks way n dim"]
) -> Float[Tensor, " tasks"]:
    """Accuracy of the target's own head: the class mean of largest cosine."""
    centres = F.normalize(support.mean(2), dim=-1)
    unit = F.normalize(query, dim=-1)
    return correct(torch.einsum("twnd,tkd->twnk", unit, centres))


def unlearned(seen: Seen) -> Accuracies:
    """What needs no base task: class means under the cosine, and logistic regression."""
    pairs = zip(seen.support, seen.query, strict=True)
    return {
        methods.BASELINE: cosines(seen.support, seen.query),
        REGRESSION: torch.tensor([regression(*pair) for pair in pairs]),
    }


def regression(
    support: Float[Tensor, " way shots dim"], query: Float[Tensor, " way n dim"]
) -> float:
    """Accuracy of scikit-learn's logistic regression on features of length 10."""
    x, q = (
        (LOGIT_SCALE * F.normalize(part, dim=-1)).flatten(0, 1) for part in (support, query)
    )
    y, named = (
        torch.arange(len(part)).repeat_interleave(part.shape[1])
        for part in (support, query)
    )
    model = LogisticRegression(C=RIDGE_C, max_iter=500).fit(x.numpy(), y.numpy())
    return float(model.score(q.numpy(), named.numpy()))


def whitened(seen: Seen, whiten: Whitening, config: BaseConfig) -> Accuracies:
    """What needs of base tasks no more than their covariance."""
    support, query = whiten(seen.support), whiten(seen.query)
    start = tell(support, config)[1]
    return {
        "whitened means": correct(answers(heads.mean_heads(support), query)),
        f"whitened {REGRESSION}": correct(answers(start, query)),
    }


def generated(
    name: str, made: HeadGenerator, seen: Seen, config: HeadsConfig, seed: int
) -> Accuracies:
    """What a generator's heads do: each by itself, chosen ones, and their mean.

    The mean of the heads is the ensemble: logits are linear in them. `chosen` has the smallest
    cross-entropy on the support; `chosen by queries` is what the paper reports, and no method.
    """
    random = stream(seed, "heads", STREAMS.get(name, name))
    how = {"steps": config.steps, "generator": random}
    drawn = made.sample(seen.support, config.n_samples, **how)
    support, query = (made.whiten(part)[:, None] for part in seen[:2])
    each = correct(answers(drawn, query))
    best = support_loss(drawn, support).argsort(1)[:, : config.top]
    wrong = made.sample(seen.support, config.n_samples, about=seen.other, **how)

    def mean(some: Tensor) -> Tensor:
        return correct(answers(some.mean(1, keepdim=True), query))[:, 0]

    return {
        f"{name}, all samples": each.mean(1),
        f"{name}, {config.top} chosen": each.gather(1, best).mean(1),
        f"{name}, mean head": mean(drawn),
        f"{name}, {config.top} chosen by queries": each.topk(config.top).values.mean(1),
        f"{name}, wrong support": mean(wrong),
    }


def kinds(config: HeadsConfig) -> dict[str, GeneratorConfig]:
    """The generators that are compared, on the same base heads."""
    ours = config.generator
    whole = {"kind": "ridge", "latent": 10_000, "by": "row"}
    return {
        LINEAR: replace(ours, **whole),
        FLOW: replace(ours, kind="flow"),
        WHOLE: replace(ours, kind="flow", by="head"),
        DIFFUSION: replace(ours, kind="diffusion"),
    }


def head_rows(
    seen: Seen,
    learned: tuple[Whitening, HeadSet],
    made: Mapping[tuple[str, int], HeadGenerator],
    config: HeadsConfig,
) -> tuple[Accuracies, dict[str, list[float]]]:
    """Accuracy of every head method on every task, and its mean for each generator seed."""
    found = unlearned(seen) | whitened(seen, learned[0], config.base)
    by_seed: dict[str, list[Tensor]] = {}
    for (name, seed), generator in made.items():
        said = generated(name, generator, seen, config, seed)
        if name == LINEAR:  # one head, not samples
            said = {name: said[f"{name}, mean head"]}
        for method, accuracy in said.items():
            by_seed.setdefault(method, []).append(accuracy)
    found |= {method: torch.stack(rows).mean(0) for method, rows in by_seed.items()}
    return found, {m: [float(r.mean()) for r in rows] for m, rows in by_seed.items()}


def fit_all(
    learned: tuple[Whitening, HeadSet], config: HeadsConfig, progress: Progress = silent
) -> tuple[dict[tuple[str, int], HeadGenerator], dict[str, float]]:
    """Every kind with every seed (the linear map draws nothing: one), and seconds of a fit."""
    jobs = [
        (name, how, seed)
        for name, how in kinds(config).items()
        for seed in (config.seeds[:1] if name == LINEAR else config.seeds)
    ]
    whiten, found = learned
    made, seconds = {}, {}
    for name, how, seed in progress(jobs, total=len(jobs), desc="generators"):
        begun = time.perf_counter()
        generator = stream(seed, "generator", STREAMS.get(name, name))
        made[name, seed] = fit_generator(
            found, whiten, config.base, how, generator=generator
        )
        seconds[name] = time.perf_counter() - begun
    return made, seconds


def table(role: str, met: Sequence[Trial], found: Accuracies) -> pd.DataFrame:
    """Accuracies as rows of `experiments.evaluate`."""
    return pd.DataFrame(
        {"role": role, "domain": t.domain, "task": t.number, "method": name, "accuracy": a}
        for name, accuracies in found.items()
        for t, a in zip(met, accuracies.tolist(), strict=True)
    )


def adapters(names: Sequence[str] = ()) -> list[Method]:
    """The methods of part A that need no store: gradients, and the shipped drift networks."""
    shipped = methods.networks(["HyperFlow-L=linear", "HyperFlow-C=cubic"])
    every = (*methods.GRADIENT, *FLOWS)
    return methods.named(names or every, methods.Learned(nets=shipped))


def costs(
    target: Target,
    support: LabelledImages,
    made: Mapping[str, HeadGenerator],
    config: HeadsConfig,
    *,
    offline_s: Mapping[str, float],
) -> list[dict[str, object]]:
    """Operations and seconds of one adaptation, and the minutes that were spent before any task."""
    rows = []
    for method in (*methods.named([methods.BASELINE]), *adapters()):
        view = method.view(target)
        call = lambda m=method, v=view: classifier(m, v, support)  # noqa: E731
        row = cost.audit(method.name, call, view.model, repeats=3)
        minutes = before_any_task() if method.name in FLOWS else 0
        rows.append({"method": row.name, "flops": row.flops, "seconds": row.seconds})
        rows[-1]["offline_minutes"] = minutes

    def drawn(generator: HeadGenerator) -> Tensor:
        features = look(target, support)[None]
        how = {"steps": config.steps, "generator": stream(0, "cost")}
        return generator.sample(features, config.n_samples, **how)

    def fitted() -> float:
        features = look(target, support)
        return regression(features, features)

    calls = {REGRESSION: fitted}
    calls |= {name: lambda g=g: drawn(g) for name, g in made.items()}
    for name, call in calls.items():
        row = cost.audit(name, call, target.model, repeats=3)
        rows.append({"method": name, "flops": row.flops, "seconds": row.seconds})
        rows[-1]["offline_minutes"] = offline_s.get(name, 0.0) / 60
    return rows
