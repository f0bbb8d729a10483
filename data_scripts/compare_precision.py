"""Record the same paths with products of shorter numbers; write how far their ends lie apart."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import choose, stream
from hyperlab.evaluation import timing
from hyperlab.hyperflow.collect import CollectConfig, draw_tasks
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune
from hyperlab.models import targets
from hyperlab.models.rows import RowLinear
from hyperlab.models.targets import Target
from hyperlab.params import qv_biases
from hyperlab.tasks.episodes import LabelledImages

import torch
import typer
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from tqdm import tqdm

import script
import study

MANTISSA = {"fp32": 23, "tf32": 10, "bf16": 7}  # bits, without the leading one


def rounded(x: Tensor, bits: int) -> Tensor:
    """Single precision rounded to `bits` bits of mantissa, as tensor cores read it."""
    spare = 23 - bits
    if not spare:
        return x
    whole = x.contiguous().view(torch.int32)
    up = (1 << (spare - 1)) - 1 + (whole >> spare & 1)  # ties to even
    return (whole + up & -(1 << spare)).view(torch.float32)


class RoundedProduct(torch.autograd.Function):
    """x W^T, and the gradient with respect to x, with rounded factors and exact sums."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bits: int) -> Tensor:
        ctx.weight, ctx.bits = rounded(weight, bits), bits
        return rounded(x, bits) @ ctx.weight.T

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return rounded(gradient, ctx.bits) @ ctx.weight, None, None


@contextmanager
def rounded_layers(model: nn.Module, bits: int) -> Iterator[None]:
    """Inside, every linear layer multiplies rounded numbers; attention and stem stay exact."""
    layers = [layer for layer in model.modules() if isinstance(layer, RowLinear)]

    def hook(layer: RowLinear, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        (x,), bias = inputs, layer.bias
        rows = bias.ndim > 1  # one for every image
        bias = bias.unflatten(-1, (1,) * (x.ndim - 2) + (-1,)) if rows else bias
        return RoundedProduct.apply(x, layer.weight, bits) + bias

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def deviations(
    target: Target, supports: Sequence[LabelledImages], config: TeacherConfig, bits: int
) -> Tensor:
    """Distance of the end points from the exact ones, over the length of the exact path."""
    exact, other = (_paths(target, supports, config, b) for b in (23, bits))
    length = exact.diff(dim=1).norm(dim=2).sum(1)
    return (other[:, -1] - exact[:, -1]).norm(dim=1) / length


def markdown(rows: Mapping[str, Sequence[float]]) -> str:
    """A row per teacher and kind of numbers: median, ninth decile and worst, in per cent."""
    head = "| teacher, numbers | median | 9 in 10 below | worst |\n|---|---|---|---|\n"
    cells = (" | ".join(f"{x} %" for x in spread) for spread in rows.values())
    lines = zip(rows, cells, strict=True)
    return head + "".join(f"| {name} | {cell} |\n" for name, cell in lines)


def _paths(
    target: Target, supports: Sequence[LabelledImages], config: TeacherConfig, bits: int
) -> Tensor:
    views = [stream(0, "views", i) for i in range(len(supports))]
    with rounded_layers(target.model, bits):
        steps = fine_tune(target, Supports.join(supports), config, views)
        return torch.stack([theta for theta, _ in steps], 1)


BATCHES = {"smoke": 1, "laptop": 4, "paper": 16}  # of 8 tasks
TEACHERS = {
    "gradient descent, 20 x 10": TeacherConfig(),
    "Adam, 20 x 0.03": TeacherConfig(lr=0.03, optimiser="adam"),
}


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="the table, without suffix")] = Path(
        "results/precision"
    ),
) -> None:
    """Distance of the ends over the length of the path, in per cent. Keys stay still: inert."""
    target = targets.load("vit_micro", subset=qv_biases)
    config = CollectConfig(batch=8, protocol="5-way 5-shot", mixed=0.0, seed=seed)
    tasks = [t for b in range(choose(BATCHES, scale)) for t in draw_tasks(config, b)]
    supports = [task.episode.support for task in tasks]
    rows = {}
    for teacher, numbers in tqdm([(t, n) for t in TEACHERS for n in ("tf32", "bf16")]):
        plan = replace(TEACHERS[teacher], steps=2 if scale == "smoke" else 20)
        bits = MANTISSA[numbers]
        found = 100 * deviations(target, supports, plan, bits)
        spread = [round(float(found.quantile(q)), 2) for q in (0.5, 0.9, 1)]
        rows[f"{teacher}, {numbers}"] = spread
    about = {"command": timing.command(), "tasks": len(tasks), "torch": torch.__version__}
    facts = about | {"percent of the path": rows}
    study.write(out.with_suffix(".json"), facts, markdown(rows))
    print(f"wrote {out}.json and .md")


if __name__ == "__main__":
    script.run(main)
