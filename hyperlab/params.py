"""Views of a model's parameters as one flat vector: which parameters move."""

import copy
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from .base import ConfigError

Thirds = tuple[int, ...]  # of a joint query-key-value tensor that move: 0 q, 1 k, 2 v
Predicate = Callable[[str], bool | Thirds]
# A projection inside an attention, by the name that it has there -> what it gives.
_NAMES = ["qkv", "q", "k", "v", "q_proj", "k_proj", "v_proj", "wq", "wk", "wv", "kv", "qk"]
PROJECTIONS = {name: re.sub("w|_proj", "", name) for name in _NAMES}
# Attentions whose joint projection gives all queries, then all keys, then all values. Others may
# go head by head (MaxViT, TinyViT), and then a third of the numbers is no query, key or value.
JOINT = frozenset(
    {
        "timm.layers.attention.Attention",
        "timm.layers.attention.AttentionRope",
        "timm.models.cait.TalkingHeadAttn",
        "timm.models.swin_transformer.WindowAttention",
        "timm.models.vision_transformer_relpos.RelPosAttention",
        "timm.models.vision_transformer_sam.Attention",
        "torch.nn.modules.activation.MultiheadAttention",
        "torch.nn.modules.module.Module",  # computes nothing itself
    }
)


class ParamName(str):
    """A parameter's dotted name that knows the modules around it: what the choices below ask.

    A plain string says its name only, and is taken for one of a timm vision transformer.
    """

    owners: tuple[nn.Module, ...] = ()  # the innermost first, the whole model last

    @classmethod
    def of(cls, model: nn.Module, name: str) -> "ParamName":
        found, path = cls(name), name.split(".")[:-1]
        places = (".".join(path[:n]) for n in range(len(path), -1, -1))
        found.owners = tuple(model.get_submodule(place) for place in places)
        return found

    @property
    def leaf(self) -> str:
        return self.rpartition(".")[2]

    @property
    def projects(self) -> str:
        """Of a bias in an attention: which of q, k and v it is added to; "" of all others."""
        if self.leaf == "bias" and len(self.owners) > 1:
            linear = isinstance(self.owners[0], nn.Linear | nn.Conv2d)
            return PROJECTIONS.get(self.split(".")[-2], "") if linear else ""
        apart = {"q_bias": "q", "k_bias": "k", "v_bias": "v", "in_proj_bias": "qkv"}
        return apart.get(self.leaf, "")

    @property
    def attention(self) -> nn.Module | None:
        """The module that holds the projection."""
        place = 1 if self.leaf in ("bias", "weight") else 0
        return self.owners[place] if len(self.owners) > place else None


def is_norm(layer: nn.Module) -> bool:
    """Whether a module is a normalisation layer with numbers of its own, torch's or timm's."""
    kinds = (kind.__name__ for kind in type(layer).__mro__)
    own = next(layer.parameters(recurse=False), None) is not None
    return own and any(re.search("Norm(?!al)", kind) for kind in kinds)


def _asked(name: str) -> ParamName | None:
    return name if isinstance(name, ParamName) and name.owners else None


def qkv_biases(name: str) -> bool:
    """Biases of the attention's query, key and value projections: what HyperFlow moves."""
    if (asked := _asked(name)) is None:
        return name.endswith("attn.qkv.bias")
    return asked.projects != ""


def qv_biases(name: str) -> Thirds | bool:
    """Query and value biases: the key third has no effect on the features.

    Raises:
        ConfigError: one projection gives two of the three.

    Source: Namazifar et al. 2023, arXiv:2302.08626 (a constant q.b_k cancels in the softmax).
    """
    if (asked := _asked(name)) is None:
        return (0, 2) if qkv_biases(name) else False
    if asked.projects in ("kv", "qk"):
        raise ConfigError(
            f"{name} is the bias of two projections in one, of which only one is to move; take "
            "qkv_biases, or a predicate of your own"
        )
    return {"qkv": (0, 2), "q": True, "v": True}.get(asked.projects, False)


def all_biases(name: str) -> bool:
    """Every additive bias of the backbone, those of the norms included (BitFit's choice)."""
    return name.endswith((".bias", "_bias")) and not head(name)


def norms(name: str) -> bool:
    """Scales and shifts of the normalisation layers (LN-Tune).

    They are found by what they are. Those of `vit_micro`'s stem stay.
    """
    if (asked := _asked(name)) is None:
        return re.search(r"(^|\.)norm\d*\.(weight|bias)$", name) is not None
    stay = any(getattr(owner, "norms_stay", False) for owner in asked.owners)
    return is_norm(asked.owners[0]) and not stay


def head(name: str) -> bool:
    """The linear map between features and prototypes or classes, no other part of a head."""
    if (asked := _asked(name)) is None:
        return name.startswith("head.")
    model, owner = asked.owners[-1], asked.owners[0]
    classifier = getattr(model, "get_classifier", lambda: None)
    maps = (getattr(model, "head", None), classifier())
    return isinstance(owner, nn.Linear) and any(owner is one for one in maps)


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
            ConfigError: if `match` keeps nothing (the message shows some names), or thirds of a
                projection of which it is not known what a third is.
        """
        parameters = {name: p.detach() for name, p in model.named_parameters()}
        kept = {name: match(ParamName.of(model, name)) for name in parameters}
        base = {name: parameters[name] for name, part in kept.items() if part}
        if not base:
            first = list(parameters)[:4]
            raise ConfigError(f"the subset selects no parameter; names look like {first}")
        thirds = {name: part for name, part in kept.items() if isinstance(part, tuple)}
        for name in thirds:
            _require_thirds(ParamName.of(model, name))
        return cls(base, thirds)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.base)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many numbers of each tensor move."""
        return tuple(self._moving(name, x).numel() for name, x in self.base.items())

    @property
    def n_params(self) -> int:
        return sum(self.sizes)

    def flatten(self, state: Mapping[str, Tensor]) -> Float[Tensor, "*batch params"]:
        """The moving numbers of `state`, one tensor after another, behind its leading axes."""
        return torch.cat([self._moving(name, state[name]) for name in self.names], -1)

    def unflatten(self, theta: Float[Tensor, "*batch params"]) -> dict[str, Tensor]:
        """Name -> whole tensor; the leading axes of `theta` stand in front of each shape."""
        if theta.shape[-1] != self.n_params:
            raise ConfigError(
                f"theta has {theta.shape[-1]} numbers; this subset has {self.n_params} "
                f"in {len(self.names)} tensors"
            )
        pairs = zip(self.names, theta.split(self.sizes, dim=-1), strict=True)
        return {name: self._whole(name, part) for name, part in pairs}

    def call(
        self, model: nn.Module, theta: Float[Tensor, "*rows params"], x: Tensor
    ) -> Tensor:
        """Run `model` on `x` with this subset replaced by `theta`; `model` stays as it was."""
        return functional_call(model, self.unflatten(theta), (x,))

    def _moving(self, name: str, tensor: Tensor) -> Tensor:
        axis = tensor.ndim - self.base[name].ndim
        if name in self.thirds:
            parts = tensor.chunk(3, axis)
            tensor = torch.cat([parts[i] for i in self.thirds[name]], axis)
        return tensor.reshape(*tensor.shape[:axis], -1)

    def _whole(self, name: str, part: Tensor) -> Tensor:
        base, batch = self.base[name].to(part), part.shape[:-1]
        if name not in self.thirds:
            return part.reshape((*batch, *base.shape))
        thirds = self.thirds[name]
        moving = dict(zip(thirds, part.chunk(len(thirds), -1), strict=True))
        frozen = [chunk.reshape(-1).expand(*batch, -1) for chunk in base.chunk(3)]
        whole = torch.cat([moving.get(i, frozen[i]) for i in range(3)], dim=-1)
        return whole.reshape(*batch, *base.shape)


def _require_thirds(name: ParamName) -> None:
    """Raise ConfigError unless it is known that a third of the tensor is query, key or value."""
    kind = type(name.attention)
    if name.attention is None or f"{kind.__module__}.{kind.__qualname__}" not in JOINT:
        raise ConfigError(
            f"in what order {kind.__name__} keeps queries, keys and values in {name} is not known; "
            "take qkv_biases, which moves all of them, or another network"
        )


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
    match: Predicate = lambda name: name.rpartition(".")[2] in PROJECTIONS,
    generator: torch.Generator,
    trial: Tensor | None = None,
) -> nn.Module:
    """A copy of `model` whose linear layers named by `match` carry low-rank factors.

    Args:
        match: all projections to queries, keys and values by default.
        trial: what the model takes; every one of the layers has to run on it.

    Raises:
        ConfigError: there is no such layer, or the model takes a layer's weights without calling
            it, so that its factors would do nothing.
    """
    model = copy.deepcopy(model)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    layers = {name: layer for name, layer in linear.items() if match(name)}
    if not layers:
        raise ConfigError("with_lora found no linear layer whose name satisfies match")
    if trial is not None and (idle := layers.keys() - _called(model, layers, trial)):
        raise ConfigError(
            f"low-rank factors would do nothing in {sorted(idle)[:3]}: the network takes the "
            "weights of these layers without calling them; take another subset or network"
        )
    for layer in layers.values():
        noise = torch.randn(rank, layer.in_features, generator=generator)
        layer.lora_a = nn.Parameter(noise.to(layer.weight) / layer.in_features**0.5)
        layer.lora_b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        layer.gain = alpha / rank
        layer.__class__ = LoRALinear
    return model


@torch.no_grad()
def _called(model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor) -> set[str]:
    """Names of the layers whose forward runs when the model does."""
    called: set[str] = set()
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hook = layer.register_forward_hook(lambda *_, name=name: called.add(name))
            hooks.callback(hook.remove)
        model(x)
    return called
