"""Pre-train the course's backbone `vit_micro`, first to see, then to be tuned; write safetensors.

Phase one is ordinary: name the class of an image among the classes of its domain. Phase two
rehearses what comes later: one gradient step of the qkv biases on a support set, then the same
losses at the tuned biases, differentiated through that step. A backbone that never rehearsed hardly
gains from tuning a few biases; the big vision models of the papers gain without it.
"""

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from hyperlab import checkpoint
from hyperlab.base import ConfigError, Progress, choose, silent, stream
from hyperlab.models import targets
from hyperlab.params import ParamSubset, qkv_biases
from hyperlab.tasks import augment, roles
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.styles import random_style

import torch
import typer
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

import script


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A generic backbone that profits from tuning its biases."""

    steps: int = 500  # of phase one
    rehearsals: int = 800  # steps of phase two
    batch: int = 128  # images a step
    lr: float = 2e-3  # peak of a one-cycle cosine, AdamW; phase two has half of it
    scale: float = 12.0  # of the cosine logits
    n_way: int = 8  # classes of a group
    n_shot: int = 4  # images of each of them
    styled: float = 0.3  # share of the groups that are styled at all
    stride: tuple[float, float] = (0.05, 0.3)  # lengths of a rehearsed step, a token's rms
    rehearse: bool = True  # False: phase two goes on like phase one

    def __post_init__(self) -> None:
        if self.n_shot < 4:
            raise ConfigError(
                f"n_shot must be >= 4, got {self.n_shot}: a rehearsal needs two images of each "
                "class in either half of a group"
            )

    @classmethod
    def at(cls, scale: str) -> "PretrainConfig":
        smoke = cls(steps=12, rehearsals=4, batch=32)
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls()}, scale)


def pretrain(
    domains: list[Domain],
    weights: list[float],
    config: PretrainConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> nn.Module:
    """Train `vit_micro` in the two phases; the normalisation of its features ends in the head.

    Args:
        weights: how often each domain is drawn, in any unit.

    Source: the rehearsal is MAML's (Finn et al. 2017, arXiv:1703.03400) with the inner step on
    context parameters alone, as in CAVIA (Zintgraf et al. 2019, arXiv:1810.03642).
    """
    model = targets.build("vit_micro").requires_grad_(True)
    _initialise(model, generator)
    norm = nn.BatchNorm1d(model.num_features, affine=False)
    naming = _Naming(domains, model.num_features, config, generator)
    phases = (
        ("see", config.steps, config.lr),
        ("rehearse", config.rehearsals, config.lr / 2),
    )
    for phase, steps, lr in phases:
        optimiser, schedule = _optimiser([*model.parameters(), naming.centres], lr, steps)
        for _ in progress(range(steps), total=steps, desc=f"pre-training ({phase})"):
            images, labels = _batch(
                domains, torch.tensor(weights), naming.offsets, config, generator
            )
            images = augment.view(images, generator, turn=0.3, shift=0.15)
            rehearsal = generator if phase == "rehearse" and config.rehearse else None
            loss = _loss(model, norm, naming, ((images - 0.5) / 0.25, labels), rehearsal)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    _fold(norm, model.head)
    return model.eval().requires_grad_(False)


def _loss(
    model: nn.Module,
    norm: nn.BatchNorm1d,
    naming: "_Naming",
    batch: tuple[Tensor, Tensor],
    rehearsal: torch.Generator | None,
) -> Float[Tensor, ""]:
    """Of a batch as it is; in a rehearsal that counts half, beside the loss at tuned biases."""
    images, labels = batch
    if rehearsal is None:
        return naming.loss(norm(model(images)), labels)
    rows = _one_step(model, norm, images, labels, naming.config, rehearsal)
    tuned = naming.loss(norm(_with_biases(model, rows, images)), labels)
    return tuned + 0.5 * naming.loss(norm(model(images)), labels)


class _Naming:
    """The loss of naming classes: among those of the domain, and among those of the group."""

    def __init__(
        self,
        domains: list[Domain],
        width: int,
        config: PretrainConfig,
        generator: torch.Generator,
    ) -> None:
        counts = torch.tensor([d.n_classes for d in domains])
        self.config = config
        self.owner = torch.repeat_interleave(torch.arange(len(domains)), counts)
        self.offsets = torch.tensor([0, *counts.tolist()]).cumsum(0)
        self.centres = nn.Parameter(
            torch.randn(len(self.owner), width, generator=generator)
        )

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cosine classifier over the image's own domain, plus twice the few-shot loss."""
        logits = self.config.scale * targets.cosine(features, self.centres)
        logits = logits.masked_fill(self.owner != self.owner[labels][:, None], -1e4)
        named = _smoothed(logits, labels, self.owner, smoothing=0.1)
        size, scale = self.config.n_way * self.config.n_shot, self.config.scale
        return named + 2.0 * _within_groups(features, labels, size, scale).mean()


def _within_groups(
    features: Tensor, labels: Tensor, size: int, scale: float
) -> Float[Tensor, " groups"]:
    """The few-shot loss of each group: every image against the means of the other images."""
    losses = []
    for x, y in zip(features.split(size), labels.split(size), strict=True):
        names, y = y.unique(return_inverse=True)
        losses.append(targets.leave_one_out_loss(x, y, len(names), scale))
    return torch.stack(losses)


def _one_step(
    model: nn.Module,
    norm: nn.BatchNorm1d,
    images: Tensor,
    labels: Tensor,
    config: PretrainConfig,
    generator: torch.Generator,
) -> Float[Tensor, " groups params"]:
    """Each group's biases after one step on half of its images, every token by its own rms.

    The step can be differentiated, so the weights learn to make its direction a good one.
    """
    size = config.n_way * config.n_shot
    half = size // 2
    subset = ParamSubset.select(model, qkv_biases)
    theta = subset.flatten(dict(model.named_parameters()))
    theta = theta.expand(len(images) // size, -1)
    support = torch.cat([group[:half] for group in images.split(size)])
    names = torch.cat([group[:half] for group in labels.split(size)])
    spread = (norm.running_var + norm.eps).sqrt()
    features = (_with_biases(model, theta, support) - norm.running_mean) / spread
    loss = _within_groups(features, names, half, scale=10.0).sum()
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    tokens = gradient.unflatten(1, (-1, model.num_features))
    rms = tokens.detach().square().mean(-1, keepdim=True).sqrt()
    low, high = config.stride
    length = low + (high - low) * torch.rand(len(theta), 1, generator=generator)
    return theta - length * (tokens / (rms + 0.05 * rms.amax(1, keepdim=True))).flatten(1)


def _with_biases(
    model: nn.Module, theta: Float[Tensor, " groups params"], images: Tensor
) -> Float[Tensor, " n dim"]:
    """Features under each group's biases, by attention that can be differentiated twice."""
    rows = theta.repeat_interleave(len(images) // len(theta), 0)
    moved = ParamSubset.select(model, qkv_biases).unflatten(rows)
    with sdpa_kernel(SDPBackend.MATH):
        return functional_call(model, moved, (images,))


def _fold(norm: nn.BatchNorm1d, head: nn.Linear) -> None:
    """Put the running mean and spread of the features into the linear head."""
    spread = (norm.running_var + norm.eps).sqrt()
    with torch.no_grad():
        head.weight.copy_(torch.diag(1 / spread))
        head.bias.copy_(-norm.running_mean / spread)


def _optimiser(
    parameters: list[nn.Parameter], lr: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    optimiser = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    one_cycle = {"total_steps": steps, "pct_start": 0.08}
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, **one_cycle)


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


def main(
    scale: Annotated[str, typer.Option(help="smoke, laptop or paper")] = "laptop",
    seed: Annotated[int, typer.Option(help="of every random stream")] = 0,
    out: Annotated[Path, typer.Option(help="the file to write")] = targets.SHIPPED,
    data: Annotated[Path | None, typer.Option(help="root of real data")] = None,
    rehearse: Annotated[bool, typer.Option(help="bias-tuning in phase two")] = True,
) -> None:
    """Supervised, on the domains of the role `pretrain`; CPU, two cores: about 8 minutes."""
    started = time.perf_counter()
    config = replace(PretrainConfig.at(scale), rehearse=rehearse)
    found = list(roles.open_role("pretrain", root=data, progress=tqdm))
    model = pretrain(
        [domain for _, domain in found],
        [source.weight for source, _ in found],
        config,
        generator=stream(seed, "pretrain"),
        progress=tqdm,
    )
    seconds = time.perf_counter() - started
    about = {"seed": seed, "seconds": round(seconds), "config": config}
    about["domains"] = [source.name for source, _ in found]
    words = {key: str(value) for key, value in about.items()}
    checkpoint.save(out, targets.KIND, model, {"name": "vit_micro"}, words)
    print(f"wrote {out} ({seconds:.0f} s)")


if __name__ == "__main__":
    script.run(main)
