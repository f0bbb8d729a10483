"""Time a flow's step, loss and optimal coupling against torchcfm; write one JSON file."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, Progress, Velocity, choose, silent, stream
from hyperlab.evaluation.timing import seconds
from hyperlab.nn import lent
from hyperlab.weights import flow
from hyperlab.weights.couplings import optimal
from hyperlab.weights.flow import FlowConfig

import torch
import typer
from jaxtyping import Float
from torch import Tensor, nn
from tqdm.auto import tqdm

import script
import study

CALLS = 10  # couplings or losses timed at once

try:
    from torchcfm.conditional_flow_matching import ConditionalFlowMatcher
    from torchcfm.optimal_transport import OTPlanSampler
except ImportError:  # optional: the extra `bench`
    ConditionalFlowMatcher = OTPlanSampler = None


def compare(
    x1: Float[Tensor, " n dim"],
    config: FlowConfig,
    *,
    generator: torch.Generator,
    batches: Sequence[int] = (64, 256),
    repeats: int = 9,
    progress: Progress = silent,
) -> dict[str, dict[str, float]]:
    """Three tasks at every batch size; the libraries take turns, the median round counts.

    Returns:
        For each task the seconds of every contestant and their ratios to ours; for a coupling
        also `cost_difference`, of the two optimal costs over ours, and the share of the batch's
        starts that is used at all.

    Raises:
        ConfigError: torchcfm is not installed, there are no rounds, or too few points.
    """
    if ConditionalFlowMatcher is None:
        raise ConfigError("torchcfm is not installed; run: pip install hyperlab[bench]")
    if repeats < 1 or len(x1) < max(batches):
        raise ConfigError(f"want a round and {max(batches)} points: {repeats}, {len(x1)}")
    rows = {}
    for batch in progress(batches, total=len(batches), desc="batch sizes"):
        loops = training(x1, replace(config, batch=batch), generator)
        rows[f"training step, batch {batch}"] = _race(loops, config.steps, repeats)
        x0 = torch.randn(batch, x1.shape[1], generator=generator)
        batch_x1 = x1[torch.randperm(len(x1), generator=generator)[:batch]]
        rows[f"loss, batch {batch}"] = _race(losses(batch_x1, generator), CALLS, repeats)
        row = _race(coupling(x0, batch_x1), CALLS, repeats)
        rows[f"optimal coupling, batch {batch}"] = row | agreement(x0, batch_x1)
    return rows


def training(
    x1: Float[Tensor, " n dim"], config: FlowConfig, generator: torch.Generator
) -> dict[str, Callable[[], object]]:
    """`config.steps` steps each, on a field of the same size.

    Ours; torchcfm's matcher inside our loop; and its README's loop, in which nothing is clipped,
    averaged or scheduled.
    """
    size = {"shape": config.shape, "width": config.width, "depth": config.depth}

    def loss(field: nn.Module, rows: Tensor) -> Tensor:
        return theirs_of(field, x1[rows], generator)

    def theirs() -> None:
        with lent(generator):  # their matcher draws from the global stream
            field = flow.fields.field(x1.shape[1], **size)
            flow.fit_field(field, loss, len(x1), config, generator)

    def plain() -> None:
        with lent(generator):
            field = flow.fields.field(x1.shape[1], **size)
            optimiser = torch.optim.Adam(field.parameters(), config.lr)
            for _ in range(config.steps):
                rows = torch.randint(len(x1), (config.batch,), generator=generator)
                optimiser.zero_grad()
                loss(field, rows).backward()
                optimiser.step()

    ours = lambda: flow.fit_flow(x1, config, generator=generator)  # noqa: E731
    return {"hyperlab": ours, "torchcfm": theirs, "torchcfm, plain loop": plain}


def theirs_of(
    velocity: Velocity, x1: Float[Tensor, " n dim"], generator: torch.Generator
) -> Float[Tensor, ""]:
    """The loss as torchcfm's README writes it, from normal starts."""
    x0 = torch.randn(*x1.shape, generator=generator)
    matcher = ConditionalFlowMatcher(sigma=0.0)
    t, x_t, wanted = matcher.sample_location_and_conditional_flow(x0, x1)
    return (velocity(t, x_t) - wanted).square().mean()


def ours_of(
    velocity: Velocity, x1: Float[Tensor, " n dim"], generator: torch.Generator
) -> Float[Tensor, ""]:
    """The same from our `flow_loss`."""
    x0 = torch.randn(*x1.shape, generator=generator)
    return flow.flow_loss(velocity, x0, x1, torch.rand(len(x1), generator=generator))


def losses(
    x1: Float[Tensor, " n dim"], generator: torch.Generator
) -> dict[str, Callable[[], object]]:
    """Draws and loss `CALLS` times, of a velocity that costs nothing."""
    kinds = {"hyperlab": ours_of, "torchcfm": theirs_of}
    return {
        name: lambda of=of: [of(lambda t, x: x, x1, generator) for _ in range(CALLS)]
        for name, of in kinds.items()
    }


def coupling(
    x0: Float[Tensor, " n dim"], x1: Float[Tensor, " n dim"]
) -> dict[str, Callable[[], object]]:
    """The same batch coupled `CALLS` times by our bijection and by torchcfm's draws."""
    plan = OTPlanSampler("exact")
    return {
        "hyperlab": lambda: [optimal(x0, x1) for _ in range(CALLS)],
        "torchcfm": lambda: [plan.sample_plan(x0, x1) for _ in range(CALLS)],
    }


def agreement(x0: Float[Tensor, " n dim"], x1: Float[Tensor, " n dim"]) -> dict[str, float]:
    """How far the two optimal costs are apart, and the share of the starts that each uses."""
    plan, ours = OTPlanSampler("exact"), optimal(x0, x1)
    distances = torch.cdist(x0.double(), x1.double()).square()
    theirs = len(x0) * float((torch.from_numpy(plan.get_map(x0, x1)) * distances).sum())
    cost = float((ours.double() - x1.double()).square().sum())
    return {
        "cost_difference": abs(theirs - cost) / cost,
        "hyperlab_used": len(ours.unique(dim=0)) / len(x0),
        "torchcfm_used": len(plan.sample_plan(x0, x1)[0].unique(dim=0)) / len(x0),
    }


def _race(
    contestants: Mapping[str, Callable[[], object]], per: int, repeats: int
) -> dict[str, float]:
    order = list(contestants)
    for name in order:
        contestants[name]()
    rounds = []
    for _ in range(repeats):
        rounds.append({name: seconds(contestants[name]) / per for name in order})
        order.reverse()  # nobody always comes first
    row = {k: statistics.median(took[k] for took in rounds) for k in contestants}
    ratios = {f"{k}_ratio": s / row["hyperlab"] for k, s in row.items() if k != "hyperlab"}
    return {f"{k}_s": s for k, s in row.items()} | ratios


SIZES = {  # points, numbers of each, steps timed at once (64: the code of a 4 x 4 x 4 latent)
    "smoke": (256, 16, 40),
    "laptop": (400, 64, 50),
    "paper": (400, 256, 200),
}
WHAT = "seconds of one training step, one loss and one exact coupling of a batch of float32 points"
OUT = Path("results/bench_flow.json")


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts")] = 9,
    out: Annotated[Path, typer.Option(help="the file to write")] = OUT,
) -> None:
    """Ours and torchcfm's take turns in one run, at batches of 64 and 256."""
    n, dim, steps = choose(SIZES, scale)
    config = replace(FlowConfig.at(scale), prior="normal", steps=steps)
    generator = stream(seed, "bench", "flow")
    x1 = torch.randn(n, dim, generator=generator)
    rows = compare(x1, config, generator=generator, repeats=repeats, progress=tqdm)
    sizes = {"points": n, "numbers": dim, "steps": steps, "repeats": repeats}
    facts = {
        "what": WHAT,
        "n": sizes,
        "field": {"width": config.width, "depth": config.depth},
    }
    about = study.about("torch", "scipy", "torchcfm", "POT", **facts)
    study.write(out, about | {"tasks": rows})
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
