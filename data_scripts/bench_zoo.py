"""Time the training of a zoo's networks side by side and one by one; write one JSON file."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, Progress, choose, silent, stream
from hyperlab.evaluation.timing import seconds
from hyperlab.models.cnn import ACTIVATIONS, Architecture
from hyperlab.nn import lent
from hyperlab.weights import zoo
from hyperlab.weights.recipes import untrained
from hyperlab.weights.zoo import ZooConfig

import torch
import typer
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

import script
import study

Batches = Sequence[tuple[Tensor, Tensor]]  # images and labels of each step


def compare(
    configs: Mapping[str, ZooConfig],
    *,
    steps: int,
    generator: torch.Generator,
    repeats: int = 9,
    progress: Progress = silent,
) -> dict[str, dict[str, float]]:
    """`steps` steps of every network of each zoo; the ways take turns, the median round counts.

    Returns:
        For each zoo the networks x steps per second of every way, how many times as many ours
        makes, and how far its networks are from the loop's, see `agreement`.

    Raises:
        ConfigError: there is no round, or no step.
    """
    if min(repeats, steps) < 1:
        raise ConfigError(f"want a round and a step: {repeats}, {steps}")
    rows = {}
    for name, config in progress(configs.items(), total=len(configs), desc="zoos"):
        w, batches = start(config), noise(config, steps, generator)
        row = agreement(config, w, batches)  # which also warms up
        rows[name] = _race(ways(config, w, batches), len(w) * steps, repeats) | row
    return rows


def start(config: ZooConfig) -> Float[Tensor, " networks params"]:
    """The untrained networks of a zoo."""
    recipe, seeds = config.recipe, range(config.seed, config.seed + config.n_networks)
    streams = [stream(seed, recipe.dataset, "init") for seed in seeds]
    return torch.stack([untrained(recipe.network(), recipe.init, g) for g in streams])


def noise(config: ZooConfig, steps: int, generator: torch.Generator) -> Batches:
    """Made-up images and labels for so many steps."""
    network = config.recipe.network()
    shape = (steps, config.batch, network.channels, network.size, network.size)
    images = torch.randn(shape, generator=generator)
    labels = torch.randint(network.n_classes, shape[:2], generator=generator)
    return list(zip(images, labels, strict=True))


def ways(
    config: ZooConfig, w: Float[Tensor, " networks params"], batches: Batches
) -> dict[str, Callable[[], Tensor]]:
    """Each trains all networks and returns their weights."""
    kinds = {
        "hyperlab": together,
        "loop": one_by_one,
        "loop, fused Adam": partial(one_by_one, fused=True),
    }
    return {name: partial(of, config, w, batches) for name, of in kinds.items()}


def together(
    config: ZooConfig, w: Float[Tensor, " networks params"], batches: Batches
) -> Float[Tensor, " networks params"]:
    """Group after group by `zoo.step`, as `zoo.train` does."""
    recipe, network, ends = config.recipe, config.recipe.network(), []
    for group in w.split(config.group):
        group = group.clone().requires_grad_()
        optimiser = torch.optim.Adam(
            [group], recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
        for images, labels in batches:
            zoo.step(network, group, optimiser, images, labels)
        ends.append(group.detach())
    return torch.cat(ends)


def one_by_one(
    config: ZooConfig,
    w: Float[Tensor, " networks params"],
    batches: Batches,
    *,
    fused: bool | None = None,
) -> Float[Tensor, " networks params"]:
    """Network after network by PyTorch's usual loop of a module, its optimiser and batches."""
    recipe, network, ends = config.recipe, config.recipe.network(), []
    for row in w:
        model = Alone(network, row)
        optimiser = torch.optim.Adam(
            model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=fused
        )
        for images, labels in batches:
            optimiser.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimiser.step()
        ends.append(network.flatten(model.state_dict()))
    return torch.stack(ends)


class Alone(nn.Module):
    """One network, of PyTorch's own layers."""

    def __init__(self, network: Architecture, row: Float[Tensor, " params"]) -> None:
        super().__init__()
        self.network = network
        with lent(stream(0, "alone")):  # for first weights, which `row` replaces
            for layer in network.layers:
                sizes = layer.n_in, layer.n_out
                module = (
                    nn.Conv2d(*sizes, layer.kernel) if layer.kernel else nn.Linear(*sizes)
                )
                self.add_module(layer.name, module)
        self.to(row.dtype).load_state_dict(network.unflatten(row))

    def forward(self, x: Float[Tensor, " n c h w"]) -> Float[Tensor, " n classes"]:
        act = ACTIVATIONS[self.network.activation]
        for layer in self.network.layers:
            x = getattr(self, layer.name)(x if layer.kernel else x.flatten(1))
            x = F.max_pool2d(x, 2) if layer.pool else x
            x = x if layer is self.network.layers[-1] else act(x)
        return x


def agreement(
    config: ZooConfig, w: Float[Tensor, " networks params"], batches: Batches
) -> dict[str, float]:
    """How far apart ours and the loop's weights end, in double and in single precision.

    Adam divides by the size of a gradient, so that in single precision a rounding in a tiny one
    may become a whole step: a few networks end further apart than the rest.
    """
    double = [(images.double(), labels) for images, labels in batches]
    apart = {}
    for name, given in (("float64", (w.double(), double)), ("float32", (w, batches))):
        ends = together(config, *given), one_by_one(config, *given)
        apart[name] = (ends[0] - ends[1]).abs().amax(1)
    row = {f"difference_{name}": float(by.max()) for name, by in apart.items()}
    return row | {"within_1e-5_float32": float((apart["float32"] <= 1e-5).float().mean())}


def _race(
    contestants: Mapping[str, Callable[[], Tensor]], work: int, repeats: int
) -> dict[str, float]:
    order = list(contestants)
    rounds = []
    for _ in range(repeats):
        rounds.append({name: seconds(contestants[name]) for name in order})
        order.reverse()  # nobody always comes first
    speed = {k: work / statistics.median(took[k] for took in rounds) for k in contestants}
    ours = speed["hyperlab"]
    ratios = {f"{k}_ratio": ours / v for k, v in speed.items() if k != "hyperlab"}
    return {f"{k}_per_s": v for k, v in speed.items()} | ratios


SIZES = {"smoke": (4, 2), "laptop": (100, 10), "paper": (100, 50)}  # networks, steps timed
ZOOS = {"cnn_small": "mnist", "cnn_medium": "cifar10_medium"}
WHAT = "networks x steps per second of training on batches of float32 images"
OUT = Path("results/bench_zoo.json")


def main(
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    repeats: Annotated[int, typer.Option(help="rounds; the median counts")] = 5,
    out: Annotated[Path, typer.Option(help="the file to write")] = OUT,
) -> None:
    """Groups of 25 and a loop over modules take turns, at batches of 10 and of 16 images."""
    n, steps = choose(SIZES, scale)
    zoos = [ZooConfig.at(at, name) for name in ZOOS.values() for at in ("paper", "laptop")]
    configs = {
        f"{z.recipe.architecture}, batch {z.batch}": replace(z, n_networks=n) for z in zoos
    }
    options = {"generator": stream(seed, "bench", "zoo"), "repeats": repeats}
    rows = compare(configs, steps=steps, **options, progress=tqdm)
    sizes = {"networks": n, "group": zoos[0].group, "steps": steps, "repeats": repeats}
    recipes = {name: asdict(config.recipe) for name, config in configs.items()}
    about = study.about("torch", what=WHAT, n=sizes, recipes=recipes)
    study.write(out, about | {"zoos": rows})
    print(f"wrote {out}")


if __name__ == "__main__":
    script.run(main)
