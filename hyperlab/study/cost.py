"""What an adaptation costs: operations, memory and seconds of one call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
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


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Switch timm's fused attention off: the counter reads it as 0 on a CPU.

    Source: pytorch issue 195460.
    """
    blocks = [m for m in model.modules() if hasattr(m, "fused_attn")]
    before = [m.fused_attn for m in blocks]
    for block in blocks:
        block.fused_attn = False
    try:
        yield
    finally:
        for block, fused in zip(blocks, before, strict=True):
            block.fused_attn = fused


def saved_bytes(call: Callable[[], object]) -> int:
    """The largest sum of distinct tensors that autograd keeps at one time during a call.

    A tensor is counted from when it is saved until its graph is freed.
    """
    alive: dict[int, list[int]] = {}
    peak = now = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, peak
            self.tensor, self.key = tensor, tensor.untyped_storage().data_ptr()
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


def vit_flops(*, depth: int, width: int, tokens: int, patch: int) -> int:
    """Forward FLOPs of one image: 2 (12 L D^2 N + 2 L N^2 D) + 2 p^2 3 D (N - 1).

    L blocks of width D over N tokens, the class token among them, patches of p x p pixels.
    """
    blocks = 12 * depth * width**2 * tokens + 2 * depth * tokens**2 * width
    return 2 * blocks + 2 * patch**2 * 3 * width * (tokens - 1)
