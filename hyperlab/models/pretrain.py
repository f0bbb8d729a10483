"""Supervised pre-training of the course's backbone on many small domains at once."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..base import Progress, choose, silent
from ..tasks.augment import relight, warp
from ..tasks.domains import Domain
from ..tasks.styles import random_style
from . import targets


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A generic backbone that still profits from tuning its biases."""

    steps: int = 2_500
    batch: int = 128  # images a step
    lr: float = 2e-3  # peak of a one-cycle cosine, AdamW
    weight_decay: float = 0.05
    smoothing: float = 0.1  # of the labels
    scale: float = 12.0  # of the cosine logits
    n_way: int = 8  # classes of a group
    n_shot: int = 4  # images of each of them
    episodic: float = 2.0  # weight of the loss within a group, beside the classifier's
    styled: float = 0.3  # share of the groups that are styled at all

    @classmethod
    def at(cls, scale: str) -> "PretrainConfig":
        return choose(
            {"smoke": cls(steps=20, batch=32), "laptop": cls(), "paper": cls()}, scale
        )


def pretrain(
    domains: list[Domain],
    weights: list[float],
    config: PretrainConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> nn.Module:
    """Train `vit_micro` to name the class of an image among the classes of its domain.

    Two losses: a cosine classifier whose softmax runs over the image's own domain, and the few-shot
    loss within groups of `n_way` classes. The normalisation of the features ends in the head.

    Args:
        weights: how often each domain is drawn, in any unit.
    """
    model = targets.build("vit_micro").requires_grad_(True)
    _initialise(model, generator)
    n_classes = [d.n_classes for d in domains]
    centres = torch.randn(sum(n_classes), model.num_features, generator=generator)
    centres = nn.Parameter(centres)
    owner = torch.repeat_interleave(torch.arange(len(domains)), torch.tensor(n_classes))
    optimiser, schedule = _optimiser([*model.parameters(), centres], config)
    offsets = torch.tensor([0, *n_classes]).cumsum(0)
    norm = nn.BatchNorm1d(model.num_features, affine=False)
    for _ in progress(range(config.steps), total=config.steps, desc="pre-training"):
        images, labels = _batch(domains, torch.tensor(weights), offsets, config, generator)
        images = relight(warp(images, generator, turn=0.3, shift=0.15), generator)
        features = norm(model((images - 0.5) / 0.25))
        logits = config.scale * targets.cosine(features, centres)
        logits = logits.masked_fill(owner != owner[labels][:, None], -1e4)
        loss = _smoothed(logits, labels, owner, config.smoothing)
        loss = loss + config.episodic * _within_groups(features, labels, config)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    _fold(norm, model.head)
    return model.eval().requires_grad_(False)


def _fold(norm: nn.BatchNorm1d, head: nn.Linear) -> None:
    """Put the running mean and spread of the features into the linear head."""
    spread = (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        head.weight.copy_(torch.diag(1 / spread))
        head.bias.copy_(-norm.running_mean / spread)


def _within_groups(features: Tensor, labels: Tensor, config: PretrainConfig) -> Tensor:
    """The few-shot loss of each group: every image against the means of the other images."""
    size = config.n_way * config.n_shot
    groups = zip(features.split(size), labels.split(size), strict=True)
    losses = []
    for x, y in groups:
        names, y = y.unique(return_inverse=True)
        losses.append(targets.leave_one_out_loss(x, y, len(names), config.scale))
    return torch.stack(losses).mean()


def _optimiser(
    parameters: list[nn.Parameter], config: PretrainConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    decay = config.weight_decay
    optimiser = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=decay)
    one_cycle = {"total_steps": config.steps, "pct_start": 0.05}
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, **one_cycle)


def _smoothed(logits: Tensor, labels: Tensor, owner: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with the smoothed mass spread over the classes of the same domain."""
    log_p = logits.log_softmax(1)
    own = (owner == owner[labels][:, None]).float()
    spread = (log_p * own).sum(1) / own.sum(1)
    hit = log_p[torch.arange(len(labels)), labels]
    return -((1 - smoothing) * hit + smoothing * spread).mean()


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and layer is not model.head:
            std = 1 / math.sqrt(layer.in_features)
            nn.init.trunc_normal_(layer.weight, std=min(std, 0.06), generator=generator)
            nn.init.zeros_(layer.bias)
    model.head.requires_grad_(False)
    nn.init.trunc_normal_(model.pos_embed, std=0.02, generator=generator)
    nn.init.zeros_(model.cls_token)  # timm draws it from the global generator
    for layer in model.patch_embed.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(layer.bias)


def _batch(
    domains: list[Domain],
    weights: Tensor,
    offsets: Tensor,
    config: PretrainConfig,
    generator: torch.Generator,
) -> tuple[Float[Tensor, " n 3 h w"], Int[Tensor, " n"]]:
    """Groups of `n_way` classes with `n_shot` images of one domain, under one style each."""
    images, labels = [], []
    size = config.n_way * config.n_shot
    n_groups = config.batch // size
    for k in torch.multinomial(weights, n_groups, True, generator=generator).tolist():
        domain = domains[k]
        order = torch.randperm(domain.n_classes, generator=generator)[: config.n_way]
        classes = order.repeat(-(-size // len(order)))[:size]
        picks = torch.rand(size, generator=generator).tolist()
        members = [domain.members[c] for c in classes.tolist()]
        rows = [m[int(u * len(m))] for m, u in zip(members, picks, strict=True)]
        group = domain.batch(torch.stack(rows))
        if torch.rand((), generator=generator) < config.styled:
            group = random_style(generator).apply(group)
        images.append(group)
        labels.append(classes + offsets[k])
    return torch.cat(images), torch.cat(labels)
