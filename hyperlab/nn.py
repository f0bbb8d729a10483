"""Blocks of the networks: time embedding, adaLN-Zero attention; and the loop that trains them."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Progress, silent


class MLP(nn.Sequential):
    """Linear, SiLU, dropout, ..., linear."""

    def __init__(self, *widths: int, dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(n_in, n_out), nn.SiLU(), nn.Dropout(dropout)]
        super().__init__(*layers[:-2])


class TimeEmbedding(nn.Module):
    """[cos(w_k t), sin(w_k t)] with log-spaced w_k from 1 to 100, then an MLP.

    t runs over [0, 1], where a flow has features down to about a hundredth.

    Source: Peebles & Xie 2023 (DiT), arXiv:2212.09748, with frequencies for t in [0, 1].
    """

    def __init__(self, width: int, n_frequencies: int = 16) -> None:
        super().__init__()
        omega = torch.logspace(0, 2, n_frequencies)
        self.register_buffer("omega", omega, persistent=False)
        self.mlp = MLP(2 * n_frequencies, width, width)

    def forward(self, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch width"]:
        phase = t[:, None] * self.omega
        return self.mlp(torch.cat([phase.cos(), phase.sin()], 1))


class Attention(nn.Module):
    """Multi-head attention of `x` over `memory`, with absent memory tokens masked out."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, " batch tokens width"],
        memory: Float[Tensor, " batch others width"],
        present: Bool[Tensor, " batch others"] | None = None,
    ) -> Float[Tensor, " batch tokens width"]:
        def heads(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

        k, v = self.kv(memory).chunk(2, -1)
        mask = None if present is None else present[:, None, None]
        y = F.scaled_dot_product_attention(heads(self.q(x)), heads(k), heads(v), mask)
        return self.out(y.transpose(1, 2).flatten(2))


class ConditionedBlock(nn.Module):
    """Self-attention, cross-attention and MLP, each modulated by a condition (adaLN-Zero).

    x <- x + g * f(s * norm(x) + b) with (s, b, g) linear in the condition and g = 0 at first.

    Source: Peebles & Xie 2023 (DiT), arXiv:2212.09748, section 3.2.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = Attention(width, n_heads)
        self.cross_attention = Attention(width, n_heads)
        self.mlp = MLP(width, 2 * width, width, dropout=dropout)
        self.modulation = nn.Linear(width, 9 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Float[Tensor, " batch tokens width"],
        memory: Float[Tensor, " batch others width"],
        present: Bool[Tensor, " batch others"],
        condition: Float[Tensor, " batch width"],
    ) -> Float[Tensor, " batch tokens width"]:
        parts = self.modulation(condition)[:, None].chunk(9, -1)
        s1, b1, g1, s2, b2, g2, s3, b3, g3 = parts
        y = (1 + s1) * self.norm(x) + b1
        x = x + g1 * self.self_attention(y, y)
        x = x + g2 * self.cross_attention((1 + s2) * self.norm(x) + b2, memory, present)
        return x + g3 * self.mlp((1 + s3) * self.norm(x) + b3)


def ema_update(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, parameter by parameter."""
    with torch.no_grad():
        for a, p in zip(average.parameters(), model.parameters(), strict=True):
            a.lerp_(p, 1 - decay)


def cosine_warmup(step: int, *, warmup: int, total: int) -> float:
    """A factor of the learning rate: linear up over `warmup` steps, then half a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@dataclass(frozen=True, kw_only=True)
class Descent:
    """How `fit` descends: AdamW, at a rate that rises, then falls by half a cosine to 0."""

    steps: int
    lr: float  # peak
    warmup: int  # steps of the rise
    weight_decay: float
    clip: float = 1.0  # longest gradient
    ema: float = 0.0  # decay of the averaged network, less in the first steps; 0: none
    fused: bool | None = None  # one kernel for all parameters; the bits are others
    best: bool = False  # return the network whose validation was least


class History(NamedTuple):
    """The loss of every step, and after every tenth of the steps that of validation."""

    loss: Float[Tensor, " steps"]
    validation: dict[int, float]


def fit(
    net: nn.Module,
    loss: Callable[[], Float[Tensor, ""]],
    descent: Descent,
    *,
    desc: str,
    progress: Progress = silent,
    validate: Callable[[nn.Module], float] | None = None,
) -> tuple[nn.Module, History]:
    """Train a network in place; itself, or its average over the steps where one is kept.

    Args:
        loss: of `net` on a new random batch.
        validate: of the network that would be returned now, in evaluation mode.
    """
    average = copy.deepcopy(net) if descent.ema else net
    optimiser = torch.optim.AdamW(
        net.parameters(), descent.lr, weight_decay=descent.weight_decay, fused=descent.fused
    )
    losses, validation, best = [], {}, {}
    for step in progress(range(descent.steps), total=descent.steps, desc=desc):
        factor = cosine_warmup(step, warmup=descent.warmup, total=descent.steps)
        for group in optimiser.param_groups:
            group["lr"] = descent.lr * factor
        value = loss()
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), descent.clip)
        optimiser.step()
        losses.append(value.detach())
        if descent.ema:
            ema_update(average, net, min(descent.ema, (1 + step) / (10 + step)))
        if validate and (step + 1) % max(1, descent.steps // 10) == 0:
            validation[step + 1] = value = validate(average.eval())
            if descent.best and value == min(validation.values()):
                best = copy.deepcopy(average.state_dict())
            net.train()
    average.load_state_dict(best or average.state_dict())
    trace = torch.stack(losses).cpu() if losses else torch.zeros(0)
    return average.eval(), History(trace, validation)


@contextmanager
def lent(generator: torch.Generator) -> Iterator[None]:
    """Torch's global stream, from which first weights and dropout draw, belongs to `generator`."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
