"""What an adaptation costs: operations, memory and seconds of one call."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from . import timing


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One method's cost for one task.

    FLOPs count 2 per multiply-add in matrix products, convolutions and attention; elementwise
    work (softmax, norms, activations) is left out. `saved_bytes` is the sum of the tensors that
    backward keeps, which needs no particular hardware; without gradients it is 0.
    """

    name: str
    flops: int
    saved_bytes: int
    seconds: float


@dataclass(frozen=True)
class Count:
    """What one call needs, counted and not timed; works on tensors without memory ("meta") too.

    Args:
        flops: as in `CostRow`.
        saved_bytes: that backward keeps, at most at one time.
        peak_bytes: of all tensors made during the call, at most alive at one time.
    """

    flops: int
    saved_bytes: int
    peak_bytes: int

    def __add__(self, other: "Count") -> "Count":
        """One call after the other: operations add up, memory is used again."""
        return Count(
            self.flops + other.flops,
            max(self.saved_bytes, other.saved_bytes),
            max(self.peak_bytes, other.peak_bytes),
        )


def audit(
    name: str, call: Callable[[], object], model: nn.Module, *, repeats: int = 5
) -> CostRow:
    """Count one call, then time it (median of `repeats`, after a warm-up)."""
    with plain_attention(model), FlopCounterMode(display=False) as counter:
        call()
    return CostRow(
        name=name,
        flops=counter.get_total_flops(),
        saved_bytes=saved_bytes(call),
        seconds=timing.median_s(call, repeats=repeats),
    )


def count(call: Callable[[], object], model: nn.Module) -> Count:
    """Count one call with attention in separate products, as `plain_attention` says."""
    with plain_attention(model):
        with FlopCounterMode(display=False) as counter, AliveBytes() as alive:
            call()
        return Count(counter.get_total_flops(), saved_bytes(call), alive.peak)


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Attention as separate products, which the counter reads alike on every device.

    Source: pytorch issue 195460 (fused attention on a CPU was counted as 0).
    """
    blocks = [m for m in model.modules() if hasattr(m, "fused_attn")]
    before = [m.fused_attn for m in blocks]
    for block in blocks:
        block.fused_attn = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for block, fused in zip(blocks, before, strict=True):
            block.fused_attn = fused


class AliveBytes(TorchDispatchMode):
    """Bytes of the tensors that operations make: alive `now`, and at most (`peak`).

    Tensors that were there before count nothing, nor does what a kernel uses inside itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        self._meet((args, kwargs), new=False)
        out = func(*args, **(kwargs or {}))
        self._meet(out, new=True)
        return out

    def _meet(self, tree: object, *, new: bool) -> None:
        for tensor in tree_leaves(tree):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage(), new=new)

    def _watch(self, storage: torch.UntypedStorage, *, new: bool) -> None:
        if storage._cdata in self.seen:
            return
        self.seen.add(storage._cdata)
        size = storage.nbytes() if new else 0
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, storage._cdata, size)

    def _forget(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


def saved_bytes(call: Callable[[], object]) -> int:
    """The largest sum of distinct tensors that autograd keeps at one time during a call.

    A tensor is counted from when it is saved until its graph is freed.
    """
    alive: dict[int, list[int]] = {}
    peak = now = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, peak
            self.tensor, self.key = tensor, tensor.untyped_storage()._cdata
            uses = alive.setdefault(self.key, [0, tensor.untyped_storage().nbytes()])
            uses[0] += 1
            if uses[0] == 1:
                now += uses[1]
                peak = max(peak, now)

        def __del__(self) -> None:
            nonlocal now
            uses = alive[self.key]
            uses[0] -= 1
            if uses[0] == 0:
                now -= alive.pop(self.key)[1]

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        call()
    return peak
