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
    moving = subset.names, subset.thirds
    own = checksum({name: state[name] for name in subset.names})
    start = [] if checksum(subset.base) == own else [subset.base]  # mostly the model's own
    return f"{target.name}-{checksum(moving, state, *start)}"


def described(target: Target) -> str:
    """Backbone, inputs and subset in words that begin with their fingerprints."""
    state = [*target.model.state_dict().values(), *target.subset.base.values()]
    versions = [(x.data_ptr(), x._version) for x in state]
    if target not in _KNOWN or _KNOWN[target][0] != versions:
        subset = target.subset
        what = f"moving {subset.n_params} numbers in {len(subset.names)} tensors"
        inputs = checksum(target.inputs, target.image_size)
        begin = f"{weights_fingerprint(target)}-{inputs}"
        words = f"{begin}, {what} ({subset.names[0]}, ...)"
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
    own = target.theta0
    same = theta0 is None or _equal(own, theta0)
    if same and known:
        same = _describes(known, target)
    if not same:
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
    own = described(target)
    if _mark(own) == _mark(known) or target.theta0.dtype == torch.float32:
        return _mark(own) == _mark(known)
    if target.theta0.dtype == torch.float64:
        return _mark(described(_single(target))) == _mark(known)
    rest = (re.sub("-[0-9a-f]{8}-", "-", words, count=1) for words in (own, known))
    return next(rest) == next(rest)


def _single(target: Target) -> Target:
    """A copy in single precision."""
    base = {name: tensor.float() for name, tensor in target.subset.base.items()}
    model = copy.deepcopy(target.model).float()
    return replace(target, model=model, subset=replace(target.subset, base=base))


def _equal(own: Tensor, theta0: Tensor) -> bool:
    """Bit for bit in single precision; of a coarser type's numbers within its rounding."""
    if len(own) != len(theta0):
        return False
    own, theta0 = own.detach().cpu(), theta0.detach().cpu()
    if torch.finfo(own.dtype).eps <= torch.finfo(torch.float32).eps:
        return torch.equal(own.float(), theta0.float())
    return torch.allclose(own.float(), theta0.float(), rtol=torch.finfo(own.dtype).eps)
