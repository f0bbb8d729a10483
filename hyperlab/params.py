"""Views of a model's parameters as one flat vector: which parameters move."""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from .base import ConfigError

Thirds = tuple[
    int, ...
]  # which thirds of a joint query-key-value tensor move: 0 q, 1 k, 2 v
Predicate = Callable[[str], bool | Thirds]


def qkv_biases(name: str) -> bool:
    """Biases of the attention's joint query-key-value projection: what HyperFlow moves."""
    return name.endswith("attn.qkv.bias")


def qv_biases(name: str) -> Thirds | bool:
    """Query and value biases: the key third has no effect on the features.

    Source: Namazifar et al. 2023, arXiv:2302.08626 (a constant q.b_k cancels in the softmax).
    """
    return (0, 2) if qkv_biases(name) else False


def all_biases(name: str) -> bool:
    """Every additive bias of the backbone, those of the norms included (BitFit's choice)."""
    return name.endswith(".bias") and not name.startswith("head.")


def norms(name: str) -> bool:
    """Scales and shifts of the normalisation layers (LN-Tune)."""
    return re.search(r"(^|\.)norm\d*\.(weight|bias)$", name) is not None


def head(name: str) -> bool:
    """The linear map between features and prototypes, the identity at the start."""
    return name.startswith("head.")


def lora(name: str) -> bool:
    """Low-rank factors put in by `with_lora`."""
    return name.endswith((".lora_a", ".lora_b"))


def everything(name: str) -> bool:
    """The whole backbone, without the head map and without low-rank factors."""
    return not (head(name) or lora(name))


@dataclass(frozen=True, eq=False)
class ParamSubset:
    """The part of a model that a trajectory moves, in a fixed order.

    Args:
        base: name -> the whole pre-trained tensor, for every tensor of which some part moves.
        thirds: name -> the thirds of the tensor that move, for those which move in part.
    """

    base: Mapping[str, Tensor]
    thirds: Mapping[str, Thirds]

    @classmethod
    def select(cls, model: nn.Module, match: Predicate) -> "ParamSubset":
        """Keep the parameters whose dotted name satisfies `match`.

        Raises:
            ConfigError: if `match` keeps nothing; the message shows some names.
        """
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        kept = {name: match(name) for name in parameters}
        base = {name: parameters[name] for name, part in kept.items() if part}
        if not base:
            some = list(parameters)[:4]
            raise ConfigError(f"the subset selects no parameter; names look like {some}")
        thirds = {name: part for name, part in kept.items() if isinstance(part, tuple)}
        return cls(base, thirds)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.base)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers of each tensor move."""
        return tuple(
            self._moving(name, tensor).numel() for name, tensor in self.base.items()
        )

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def flatten(self, state: Mapping[str, Tensor]) -> Float[Tensor, " params"]:
        """The moving numbers of `state`, one tensor after another."""
        return torch.cat(
            [self._moving(name, state[name]).reshape(-1) for name in self.names]
        )

    def unflatten(self, theta: Float[Tensor, "*batch params"]) -> dict[str, Tensor]:
        """Name -> whole tensor; the leading axes of `theta` stand in front of each shape.

        Raises:
            ConfigError: if `theta` has another length than this subset.
        """
        if theta.shape[-1] != self.n_params:
            raise ConfigError(
                f"theta has {theta.shape[-1]} numbers; this subset has {self.n_params} "
                f"in {len(self.names)} tensors"
            )
        parts = theta.split(self.sizes, dim=-1)
        return {
            name: self._whole(name, part)
            for name, part in zip(self.names, parts, strict=True)
        }

    def call(self, model: nn.Module, theta: Float[Tensor, " params"], x: Tensor) -> Tensor:
        """Run `model` on `x` with this subset replaced by `theta`; `model` stays as it was."""
        return functional_call(model, self.unflatten(theta), (x,))

    def _moving(self, name: str, tensor: Tensor) -> Tensor:
        if name not in self.thirds:
            return tensor
        return torch.cat([tensor.chunk(3)[i] for i in self.thirds[name]])

    def _whole(self, name: str, part: Tensor) -> Tensor:
        base, batch = self.base[name].to(part), part.shape[:-1]
        if name not in self.thirds:
            return part.reshape((*batch, *base.shape))
        moving = dict(
            zip(self.thirds[name], part.chunk(len(self.thirds[name]), -1), strict=True)
        )
        frozen = [chunk.reshape(-1).expand(*batch, -1) for chunk in base.chunk(3)]
        whole = torch.cat([moving.get(i, frozen[i]) for i in range(3)], dim=-1)
        return whole.reshape(*batch, *base.shape)


class LoRALinear(nn.Linear):
    """y = W x + b + (alpha / rank) B A x with A random and B = 0, so it starts as W x + b.

    Source: Hu et al. 2021, arXiv:2106.09685, section 4.1.
    """

    lora_a: nn.Parameter
    lora_b: nn.Parameter
    gain: float

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.gain * (x @ self.lora_a.T) @ self.lora_b.T


def with_lora(
    model: nn.Module,
    *,
    rank: int = 4,
    alpha: float = 8.0,
    match: Predicate = lambda name: name.endswith("attn.qkv"),
    generator: torch.Generator,
) -> nn.Module:
    """A copy of `model` whose linear layers named by `match` carry low-rank factors."""
    model = copy.deepcopy(model)
    found = [
        m for name, m in model.named_modules() if isinstance(m, nn.Linear) and match(name)
    ]
    if not found:
        raise ConfigError("with_lora found no linear layer whose name satisfies match")
    for layer in found:
        noise = torch.randn(rank, layer.in_features, generator=generator)
        layer.lora_a = nn.Parameter(noise.to(layer.weight) / layer.in_features**0.5)
        layer.lora_b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        layer.gain = alpha / rank
        layer.__class__ = LoRALinear
    return model
