"""Which parameters move: gain of tuning and of the flow against how many numbers there are.
A drift network for a part of the qkv biases is the shipped one with the other numbers held still:
its Jacobian has one column for each parameter, and columns can be left out.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab import params
from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import claims, experiments
from hyperlab.evaluation.methods import GRADIENT, TEACHER
from hyperlab.hyperflow import adapt, jacobian_flow
from hyperlab.hyperflow.adapt import FineTuning, LearnedFlow, Method
from hyperlab.hyperflow.jacobian_flow import JacobianFlow, Shape
from hyperlab.models import targets
from hyperlab.models.targets import Target

import torch
import typer
from jaxtyping import Bool
from torch import Tensor
from tqdm import tqdm

import script

QUERY, KEY, VALUE = 0, 1, 2


def part_of_biases(thirds: params.Thirds, blocks: Sequence[int]) -> params.Predicate:
    """Some thirds of the qkv biases of some blocks."""
    starts = tuple(f"blocks.{k}." for k in blocks)

    def match(name: str) -> params.Thirds | bool:
        return thirds if params.qkv_biases(name) and name.startswith(starts) else False

    return match


def predicates(depth: int) -> dict[str, params.Predicate]:
    """Name -> a part of the qkv biases of a model of `depth` blocks.

    Raises:
        ConfigError: one block alone: its first half is empty, its last half everything.
    """
    if depth < 2:
        raise ConfigError(f"halves of the blocks need two blocks or more, got {depth}")
    everywhere, half = range(depth), depth // 2
    return {
        "qkv": part_of_biases((QUERY, KEY, VALUE), everywhere),
        "qv": part_of_biases((QUERY, VALUE), everywhere),
        "values": part_of_biases((VALUE,), everywhere),
        "queries": part_of_biases((QUERY,), everywhere),
        "first half of the blocks": part_of_biases((QUERY, KEY, VALUE), range(half)),
        "last half of the blocks": part_of_biases((QUERY, KEY, VALUE), range(half, depth)),
    }


def mask(target: Target, match: params.Predicate) -> Bool[Tensor, " params"]:
    """Which numbers of the target's theta another subset moves too."""
    state = {}
    for name, tensor in target.subset.base.items():
        part = match(name)
        thirds = part if isinstance(part, tuple) else range(3) if part else ()
        state[name] = torch.cat(
            [torch.full_like(x, k in thirds) for k, x in enumerate(tensor.chunk(3))]
        )
    return target.subset.flatten(state) > 0


def random_mask(n_params: int, share: float, *, seed: int = 0) -> Bool[Tensor, " params"]:
    """A random choice of that share of the numbers.

    Raises:
        ConfigError: it holds none or all of them: the control would be another method.
    """
    keep = torch.rand(n_params, generator=stream(seed, "subset", str(share))) < share
    if not 0 < int(keep.sum()) < n_params:
        raise ConfigError(f"{share:.0%} of {n_params} numbers are {int(keep.sum())}")
    return keep


def masked(net: JacobianFlow, keep: Bool[Tensor, " params"]) -> JacobianFlow:
    """The same drift network with the other numbers held still."""
    net = copy.deepcopy(net)
    net.scale.mul_(keep.to(net.scale))
    return net


def methods(target: Target, net: JacobianFlow) -> list[Method]:
    """Tuning and flow for every part of the qkv biases; tuning for what is larger or other."""
    biases, lora = GRADIENT[TEACHER], GRADIENT["LoRA"]
    parts = predicates(len(target.model.blocks))
    compared: list[Method] = []
    for name, match in parts.items():
        part = masked(net, mask(target, match))
        flow = LearnedFlow(net=part, name=f"Jacobian flow C: {name}")
        compared += [flow, replace(biases, name=f"tuning: {name}", match=match)]
    for share in (0.25, 0.5):
        keep = random_mask(target.subset.n_params, share)
        name = f"Jacobian flow C: {share:.0%} of the numbers"
        compared.append(LearnedFlow(net=masked(net, keep), name=name))
    ranks = [replace(lora, name=f"tuning: LoRA, rank {r}", rank=r) for r in (1, 2, 4)]
    others = ("norms", "all biases", "full fine-tuning")
    return [
        *compared,
        *ranks,
        *(replace(GRADIENT[name], name=f"tuning: {name}") for name in others),
    ]


def n_moved(target: Target, method: Method) -> int:
    """How many numbers a method can move."""
    if isinstance(method, FineTuning):
        return method.view(target).subset.n_params
    return int((method.net.scale > 0).sum())


def network_size(shape: Shape, n_params: int) -> int:
    """Numbers in a drift network like this one for a subset of another size."""
    wanted = replace(shape, n_params=-(-n_params // shape.token_size) * shape.token_size)
    with torch.device("meta"):
        return sum(p.numel() for p in JacobianFlow(wanted).parameters())


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="stem of the table")] = Path("results/subsets"),
    rows: Annotated[Path, typer.Option(help="folder of each task's rows")] = Path(
        "artifacts/subsets"
    ),
    data: script.Data = None,
    protocol: Annotated[str, typer.Option(help="of the episodes")] = "5-way 5-shot",
    n_tasks: script.NTasks = 0,
    only: Annotated[str, typer.Option(help="domains, with commas; empty: all here")] = "",
    share: script.Share = "0/1",
) -> None:
    """Held-out domains; CPU, one core: 10 seconds a task. Goes on where it was stopped."""
    n = script.n_tasks(n_tasks, scale, 20)
    where = {"only": script.words(only), "share": script.share(share), "seed": seed}
    config = experiments.EvalConfig(protocol=protocol, n_tasks=n, **where)
    target, net = targets.load("vit_micro"), jacobian_flow.load("cubic")
    moving = methods(target, net)
    compared = [adapt.NoAdaptation(), *moving]
    if config.share[1] > 1:
        torch.set_num_threads(1)
    more = {"folder": rows, "root": data, "progress": tqdm}
    table = experiments.evaluate(target, compared, config, **more)
    moved = {m.name: n_moved(target, m) for m in moving}
    sizes = {name: network_size(net.shape, n) for name, n in moved.items()}
    n_rows = config.n_tasks * len(compared) * len(experiments.chosen(config, data))
    facts = {"moved": moved, "numbers of a drift network": sizes}
    print(claims.finish(table, config, n_rows, out, facts))


if __name__ == "__main__":
    script.run(main)
