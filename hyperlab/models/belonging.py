"""Which backbone and which subset: asked before what was trained for one is used with another."""

import copy
import re
from dataclasses import replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..base import ConfigError
from ..identity import checksum
from .targets import Target

_KNOWN: WeakKeyDictionary[Target, tuple[object, str]] = WeakKeyDictionary()


def weights_fingerprint(target: Target) -> str:
    """Changes with any frozen weight, with the subset that moves and with where it starts."""
    subset, state = target.subset, target.model.state_dict()
    own = checksum({name: state[name] for name in subset.names})
    start = [] if checksum(subset.base) == own else [subset.base]  # mostly the model's own
    return f"{target.name}-{checksum((subset.names, subset.thirds), state, *start)}"


def described(target: Target) -> str:
    """Backbone, inputs and subset in words that begin with their fingerprints."""
    subset = target.subset
    state = [*target.model.state_dict().values(), *subset.base.values()]
    versions = [(x.data_ptr(), x._version) for x in state]
    if target not in _KNOWN or _KNOWN[target][0] != versions:
        inputs = checksum(target.inputs, target.image_size)
        moving = f"{subset.n_params} numbers in {len(subset.names)} tensors"
        begin = f"{weights_fingerprint(target)}-{inputs}"
        words = f"{begin}, moving {moving} ({subset.names[0]}, ...)"
        _KNOWN[target] = versions, words
    return _KNOWN[target][1]


def require(target: Target, known: str, what: str, *, theta0: Tensor | None = None) -> None:
    """Raise ConfigError unless `what` was made for this backbone and subset.

    Args:
        known: `described` of what it was made for; "": not recorded, then theta0 alone is compared.
        theta0: the values that it starts from; None: not known.
    """
    if target.device.type == "meta":
        return
    same = theta0 is None or _equal(target.theta0, theta0)
    if not same or (known and not _describes(known, target)):
        made_for = known or f"a subset of {len(theta0)} numbers that starts elsewhere"
        raise ConfigError(
            f"{what} was made for {made_for}, and the target is {described(target)}: "
            "load the backbone and subset that it was made for, or make another"
        )


def require_same(known: str, other: str, what: str) -> None:
    """Raise ConfigError if two things are known to be made for different targets."""
    if known and other and _mark(known) != _mark(other):
        raise ConfigError(
            f"{what}: one was made for {known}, the other for {other}; take both of one target"
        )


def _mark(made_for: str) -> str:
    """The fingerprint with which a description begins."""
    return made_for.partition(",")[0]


def _describes(known: str, target: Target) -> bool:
    """Whether a description is of this target, in its precision or in single.

    Of a precision that is coarser than single only inputs and subset are compared: what was
    described had other weights.
    """
    own, dtype = described(target), target.theta0.dtype
    if _mark(own) == _mark(known):
        return True
    if dtype == torch.float64:
        subset = target.subset
        base = {name: tensor.float() for name, tensor in subset.base.items()}
        model = copy.deepcopy(target.model).float()
        single = replace(target, model=model, subset=replace(subset, base=base))
        return _mark(described(single)) == _mark(known)
    own, known = (re.sub("-[0-9a-f]{8}-", "-", x, count=1) for x in (own, known))
    return dtype != torch.float32 and own == known


def _equal(own: Tensor, theta0: Tensor) -> bool:
    """Bit for bit in single precision; of a coarser type's numbers within its rounding."""
    if len(own) != len(theta0):
        return False
    eps = torch.finfo(own.dtype).eps
    own, theta0 = (x.detach().cpu().float() for x in (own, theta0))
    if eps <= torch.finfo(torch.float32).eps:
        return torch.equal(own, theta0)
    return torch.allclose(own, theta0, rtol=eps)
