"""Classifier heads of few-shot tasks, thousands of them learned at once on frozen features.

A head is a linear map, one row of weights and a bias for each class:

    logits = W f + b.

A base task gives two heads. One is fitted to many images of its classes: what we want. The other is
fitted to the few images of its support set: what we can have. `head_generators` learns what the
first looks like, given the second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from ..base import ConfigError, Progress, choose, silent, stream
from ..models.targets import Target
from ..tasks import roles, styles
from ..tasks.domains import Domain

CHUNK = 128  # tasks that are fitted together: what a processor's cache holds
WAY = 5  # classes of every task
Features = Float[Tensor, " tasks way n dim"]
Heads = Float[Tensor, " tasks way row"]
EPS = 1e-4  # of Adam: at the start the biases' gradients are rounding errors around 0


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """Which base tasks are drawn, and how their heads are fitted."""

    n_tasks: int = 6_000  # base tasks of 5 classes
    shots: tuple[int, ...] = (1, 5)  # support images of a class, in turn
    n_train: int = 24  # images of a class behind the wanted head
    looks: int = 3  # random styles of every domain, beside its own look
    classes: int = 60  # of a domain, at most
    per_class: int = 40  # images of a class, at most
    l2: float = 0.1  # of the wanted heads and of those fitted to the support
    steps: int = 60  # of Adam

    def __post_init__(self) -> None:
        if min(self.n_tasks, self.n_train, self.steps, *self.shots) < 1 or self.looks < 0:
            raise ConfigError(
                f"n_tasks, n_train, steps, shots want >= 1, looks >= 0: {self}"
            )

    @classmethod
    def at(cls, scale: str) -> "BaseConfig":
        """Presets; "paper" has FLoWN's number of base tasks, and nothing else of its settings."""
        small = cls(n_tasks=80, n_train=6, looks=0, classes=12, per_class=9, steps=20)
        laptop = cls(n_tasks=4_000, looks=2, classes=40, per_class=30)
        large = cls(n_tasks=50_000)
        return choose({"smoke": small, "laptop": laptop, "paper": large}, scale)


@dataclass(frozen=True, eq=False)
class Bank:
    """The frozen features of a domain's images, in one or more looks.

    Args:
        members: of each class the rows of its images.
    """

    features: Float[Tensor, " looks n dim"]
    members: Sequence[Int64[Tensor, " k"]]


@torch.no_grad()
def read_bank(
    target: Target,
    domain: Domain,
    config: BaseConfig,
    *,
    least: int = 2,
    generator: torch.Generator,
) -> Bank:
    """The features of random images of a domain: its own look first, then random styles.

    Args:
        least: images; classes with fewer are left out.
    """
    classes = [rows for rows in domain.members if len(rows) >= least]
    if len(classes) < WAY:
        raise ConfigError(
            f"{domain.name} has {len(classes)} classes of {least} images, want {WAY}"
        )
    order = torch.randperm(len(classes), generator=generator)[: config.classes].tolist()
    rows = [_draw(classes[k], config.per_class, generator) for k in order]
    looks = [styles.random_style(generator) for _ in range(config.looks)]
    features = []
    for look in (styles.Style(), *looks):
        images = (look.apply(domain.batch(part)) for part in torch.cat(rows).split(300))
        parts = [target.features(target.theta0, x) for x in images]
        features.append(torch.cat(parts).cpu())
    sizes = [len(part) for part in rows]
    return Bank(torch.stack(features), torch.arange(sum(sizes)).split(sizes))


def _draw(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)[:n]]


class Task(NamedTuple):
    """The features of a 5-way task: the few that are its support set, and many."""

    support: Float[Tensor, " way shots dim"]
    train: Float[Tensor, " way n_train dim"]


def draw_tasks(
    banks: Mapping[str, Bank],
    n: int,
    *,
    n_shot: int,
    n_train: int,
    generator: torch.Generator,
) -> Task:
    """n tasks, stacked, of the domains in turn, each in one of its looks.

    The support images are among the many; where a class has too few, they come again.
    """
    if not banks:
        raise ConfigError("want one or more banks to draw tasks from")
    supports, trains, names = [], [], list(banks)
    for i in range(n):
        bank = banks[names[i % len(names)]]
        look = int(torch.randint(len(bank.features), (), generator=generator))
        for c in torch.randperm(len(bank.members), generator=generator)[:WAY].tolist():
            rows = _draw(bank.members[c], len(bank.members[c]), generator)
            again = torch.arange(max(n_shot, n_train)) % len(rows)
            features = bank.features[look, rows[again]]
            supports.append(features[:n_shot])
            trains.append(features[:n_train])
    parts = (torch.stack(part).unflatten(0, (n, WAY)) for part in (supports, trains))
    return Task(*parts)


@dataclass(frozen=True, eq=False)
class Whitening:
    """Unit features, moved and scaled so that classes of base tasks have covariance I within.

    A class mean minus the mean of all, in these coordinates, is Fisher's discriminant: what base
    tasks say about *every* task, learned in closed form.

    Source: Fisher 1936; as a first step of few-shot heads, Bendou et al. 2022 (arXiv:2201.09699).
    """

    mean: Float[Tensor, " dim"]
    map: Float[Tensor, " dim dim"]

    @classmethod
    def fit(cls, features: Features, *, noise: float = 0.1) -> "Whitening":
        """(C + noise tr(C) / dim I)^(-1/2), C the covariance within classes.

        Args:
            noise: added to every direction, in units of the mean variance.
        """
        unit = F.normalize(features, dim=-1)
        within = (unit - unit.mean(2, keepdim=True)).flatten(0, 2)
        n = features.shape[2]
        c = within.T @ within / len(within) * n / max(n - 1, 1)
        values, vectors = torch.linalg.eigh(c)
        level = noise * values.mean() + 1e-8
        return cls(
            unit.flatten(0, 2).mean(0), vectors * (values.clamp(min=0) + level).rsqrt()
        )

    def __call__(self, features: Float[Tensor, "*all dim"]) -> Float[Tensor, "*all dim"]:
        return (F.normalize(features, dim=-1) - self.mean) @ self.map


def head_logits(
    heads: Float[Tensor, "*#all way row"], features: Float[Tensor, "*#all n dim"]
) -> Float[Tensor, "*all n way"]:
    """W f + b; the bias is the last number of a row."""
    return features @ heads[..., :-1].mT + heads[..., None, :, -1]


def fit_heads(
    features: Features, *, l2: float = 0.1, steps: int = 60, lr: float = 0.05
) -> Heads:
    """Logistic regression of every task at once, by Adam with a cosine rate from 0.

    min_W,b  mean of -log softmax(W f + b)_y + l2 / 2 |W|^2. The rows sum to 0: what they have in
    common changes no probability.
    """
    return torch.cat([_fit(part, l2, steps, lr) for part in features.split(CHUNK)])


def _fit(x: Tensor, l2: float, steps: int, lr: float) -> Tensor:
    tasks, way, n, dim = x.shape
    x = torch.cat([x, x.new_ones(tasks, way, n, 1)], 3).flatten(1, 2)
    y = torch.eye(way).repeat_interleave(n, 0).to(x)
    decay = x.new_tensor([l2] * dim + [0.0])
    w = x.new_zeros(tasks, way, dim + 1)
    optimiser = torch.optim.Adam([w], lr, betas=(0.9, 0.99), eps=EPS)
    for k in range(1, steps + 1):
        optimiser.param_groups[0]["lr"] = lr * (1 + cos(pi * k / steps)) / 2
        w.grad = ((x @ w.mT).softmax(2) - y).mT @ x / (way * n) + decay * w
        optimiser.step()
    return w - w.mean(1, keepdim=True)


def mean_heads(features: Features) -> Heads:
    """The heads of class means c_k: w_k = c_k, b_k = -|c_k|^2 / 2, rows minus their mean.

    On whitened features: linear discriminant analysis with the base tasks' covariance.
    """
    c = features.mean(2)
    rows = torch.cat([c, -c.square().sum(2, keepdim=True) / 2], 2)
    return rows - rows.mean(1, keepdim=True)


@dataclass(frozen=True, eq=False)
class HeadSet:
    """Tasks as a generator sees them, on whitened features.

    Args:
        context: of every class what the generator knows, see `tell`.
        start: the heads that were fitted to the support sets.
        heads: those that were fitted to many images.
    """

    context: Float[Tensor, " tasks way c"]
    start: Heads
    heads: Heads


def tell(
    support: Features, config: BaseConfig
) -> tuple[Float[Tensor, " tasks way c"], Heads]:
    """What a support set says of every class, and the heads fitted to it.

    It is the class's row of that head, its mean (against the others') and 1 / shots.
    """
    start = fit_heads(support, l2=config.l2, steps=config.steps)
    shots = support.new_full((*start.shape[:2], 1), 1 / support.shape[2])
    return torch.cat([start, mean_heads(support), shots], 2), start


def learn_heads(
    banks: Mapping[str, Bank],
    whiten: Whitening,
    config: BaseConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> HeadSet:
    """Draw base tasks with every number of shots, and fit both heads of each."""
    n, n_train, sets = -(-config.n_tasks // len(config.shots)), config.n_train, []
    for n_shot in progress(config.shots, total=len(config.shots), desc="base heads"):
        drawn = draw_tasks(banks, n, n_shot=n_shot, n_train=n_train, generator=generator)
        support, train = map(whiten, drawn)
        heads = fit_heads(train, l2=config.l2, steps=config.steps)
        sets.append((*tell(support, config), heads))
    return HeadSet(*(torch.cat(column) for column in zip(*sets, strict=True)))


def banks(
    target: Target,
    config: BaseConfig,
    sources: Sequence[str] = (),
    *,
    seed: int = 0,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, Bank]:
    """The features that base tasks are drawn from: the domains that gave trajectories.

    Args:
        sources: names of domains; empty: all.
    """
    there = roles.present("trajectories", root=root)
    there = [source for source in there if not sources or source.name in sources]
    drawing = roles.Drawing(n_classes=config.classes, n_per_class=config.per_class)
    found = {}
    for source in progress(there, total=len(there), desc="base domains"):
        domain = roles.open_source(source, "trajectories", root=root, drawing=drawing)
        generator = stream(seed, "bank", source.name)
        found[source.name] = read_bank(target, domain, config, generator=generator)
    return found


def base_heads(
    found: Mapping[str, Bank], config: BaseConfig, *, seed: int = 0
) -> tuple[Whitening, HeadSet]:
    """The whitening that base tasks ask for, and both heads of every one of them."""
    options = {
        "n_shot": 1,
        "n_train": config.n_train,
        "generator": stream(seed, "whitening"),
    }
    drawn = draw_tasks(found, min(config.n_tasks, 1_000), **options)
    whiten = Whitening.fit(drawn.train)
    generator = stream(seed, "base heads")
    return whiten, learn_heads(found, whiten, config, generator=generator)
