"""What encoders keep of a zoo, and what generators make of it: how good, and how new."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError, Progress, choose, distinct, silent, stream
from ..models.cnn import Architecture
from ..weights import (
    align,
    baselines,
    diffusion,
    encoders,
    flow,
    graph,
    novelty,
    recipes,
)
from ..weights.encoders import Encoder, EncoderConfig
from ..weights.flow import FlowConfig
from ..weights.novelty import Originals
from ..weights.recipes import RECIPES, Splits
from ..weights.zoo import Zoo, step
from ..weights.zoo_store import find_zoo, open_zoo, require_training
from . import cost

Sampler = Callable[[int, torch.Generator], Tensor]  # (k, stream) -> k x params
Fit = Callable[[torch.Generator], Encoder]
Row = dict[str, object]

HELD_OUT = 0.2  # share of the networks that no generator is fitted to
FEW = 16  # components of the small PCA
CHUNK = 308  # weights of a chunk
READS = "graph"  # the encoder that sees a graph


@dataclass(frozen=True, kw_only=True)
class GeneratorsConfig:
    """How encoders and generators are fitted, and how many networks each makes."""

    vae: EncoderConfig = EncoderConfig(steps=600)
    # The KL is summed over chunks: with the beta and noise of whole rows they lost 4 to 8 points.
    # Chosen by these ceilings, which are measured on test images.
    chunks: EncoderConfig = EncoderConfig(
        chunk=CHUNK, latent=32, beta=1e-5, noise_latent=0.1, steps=1_000
    )
    graph: EncoderConfig = EncoderConfig(steps=500, batch=16, lr=2e-3)
    flow: FlowConfig = FlowConfig()
    n: int = 50  # networks of every generator
    seeds: tuple[int, ...] = (0, 1, 2)  # of the generators
    n_eval: int = 1_000  # images of validation, and of test

    @classmethod
    def at(cls, scale: str) -> "GeneratorsConfig":
        """Presets; "paper" makes more networks, and has nothing of FLoWN's tables."""
        few = EncoderConfig(width=64, steps=10, batch=4)
        quick = FlowConfig(width=32, depth=1, steps=20, batch=8)
        parts = replace(few, chunk=CHUNK)
        smoke = cls(
            vae=few, chunks=parts, graph=few, flow=quick, n=4, seeds=(0, 1), n_eval=50
        )
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls(n=200)}, scale)


def images_of(zoo: Zoo, n_eval: int, *, root: Path | str | None = None) -> Splits:
    """The images that a zoo's networks know, prepared as they are used to.

    Raises:
        ArtifactError: other images or labels lie there than when the zoo was trained.
    """
    network, recipe = zoo.architecture, choose(RECIPES, zoo.dataset)
    if isinstance(network, Architecture):  # else a host: it takes any image
        recipe = replace(recipe, architecture=network.name, channels=network.channels)
    splits = recipes.load(recipe, root=root)
    zoo.require(splits)
    return splits.first(0, n_eval)


def originals_of(
    zoo: Zoo, splits: Splits, *, aligned: bool = True, generator: torch.Generator
) -> Originals:
    """The last epoch of many seeds, or the checkpoints of one run; a fifth is held out.

    Seeds are held out by chance and aligned to the mean of the others. Of one run the last
    checkpoints are held out, and nothing is aligned: its channels keep their places.
    """
    judged = (tuple(splits.val), tuple(splits.test))
    if len(zoo) == 1:
        n = round(zoo.w.shape[1] * (1 - HELD_OUT))
        return Originals(zoo.architecture, zoo.w[0, :n], zoo.w[0, n:], *judged)
    parts = zoo.split((1 - HELD_OUT, HELD_OUT), generator)
    train, held_out = (part.w[:, -1] for part in parts)
    if aligned:
        train, mean = align.align_zoo(zoo.architecture, train, generator=generator)
        held_out = align.align(zoo.architecture, held_out, mean, generator=generator)
    return Originals(zoo.architecture, train, held_out, *judged)


def fits(originals: Originals, config: GeneratorsConfig) -> dict[str, Fit]:
    """Name -> how to fit that encoder; only whole networks can be read as graphs."""
    w, network = originals.train, originals.architecture

    def vae(config: EncoderConfig, generator: torch.Generator) -> Encoder:
        return encoders.fit_vae(w, config, generator=generator)

    def reads_graph(generator: torch.Generator) -> Encoder:
        layout = graph.GraphConfig(shapes=network.shapes)
        return graph.fit_graph_vae(w, config.graph, layout, generator=generator)

    ways = {
        f"PCA, {FEW}": lambda _: encoders.PCA(w, min(FEW, len(w) - 1)),
        "PCA, all": lambda _: encoders.PCA(w, len(w) - 1),
        "VAE": partial(vae, config.vae),
        "VAE, chunks": partial(vae, config.chunks),
    }
    return ways | ({READS: reads_graph} if isinstance(network, Architecture) else {})


def ceilings(
    originals: Originals,
    config: GeneratorsConfig,
    *,
    seed: int = 0,
    ways: Mapping[str, Fit] = MappingProxyType({}),
    progress: Progress = silent,
) -> tuple[list[Row], dict[str, Encoder]]:
    """What every encoder keeps of the networks that it was fitted to, and of held-out ones.

    Args:
        ways: how to fit encoders, by name; none: all that `fits` knows.

    Returns:
        A row of each with the median drops in points, and the encoders by name.
    """
    rows, kept = [], {}
    ways = ways or fits(originals, config)
    for name, fit in progress(ways.items(), total=len(ways), desc="encoders"):
        begun = time.perf_counter()
        kept[name] = fit(stream(seed, "encoder", name))
        seconds = time.perf_counter() - begun
        row = {"encoder": name, "numbers": kept[name].latent, "seconds": round(seconds, 1)}
        for part in ("train", "held_out"):
            w = getattr(originals, part)
            found = encoders.ceiling(originals.architecture, kept[name], w, originals.test)
            row |= {
                f"{part}_before": float(found.before.median()),
                f"{part}_after": float(found.after.median()),
                f"{part}_drop": found.drop,
            }
        rows.append(row)
    return rows, kept


def learned(
    encoder: Encoder, w: Float[Tensor, " n params"], config: FlowConfig, seed: int
) -> dict[str, Sampler]:
    """FLoWN, its rival AE-DDPM and the encoder's own prior, fitted to the codes of w."""
    codes = encoder.encode(w)
    ours = flow.fit_flow(codes, config, generator=stream(seed, "flow"))
    rival = diffusion.fit_diffusion(codes, config, generator=stream(seed, "diffusion"))

    def prior(k: int, generator: torch.Generator) -> Tensor:
        return torch.randn(k, encoder.latent, generator=generator)

    def decoded(draw: Callable[..., Tensor]) -> Sampler:
        return lambda k, generator: encoder.decode(draw(k, generator=generator))

    return {
        "FLoWN": decoded(ours.sample),
        "AE-DDPM": decoded(rival.sample),
        "VAE prior": decoded(prior),
    }


def unlearned(originals: Originals) -> dict[str, Sampler]:
    """Every baseline, and untrained networks where all of a network is generated."""
    made = baselines.possible(len(originals.train))
    if isinstance(network := originals.architecture, Architecture):
        made["untrained"] = baselines.RandomInit(network)
    return {
        name: lambda k, generator, of=of: of(originals.train, k, generator)
        for name, of in made.items()
    }


def compare(
    originals: Originals,
    found: Mapping[str, Encoder],
    config: GeneratorsConfig,
    *,
    progress: Progress = silent,
) -> list[Row]:
    """Every generator, every seed: what `novelty.judge` says, and the originals beside it.

    Args:
        found: encoders by name; FLoWN and AE-DDPM are fitted to the codes of each.
    """
    rows = [{"generator": "originals", "encoder": "", "seed": 0}]
    rows[0] |= asdict(novelty.judge_originals(originals))
    rows.append({"generator": "held-out", "encoder": "", "seed": 0})
    rows[1] |= asdict(novelty.judge(originals.held_out, originals))
    for seed in progress(config.seeds, total=len(config.seeds), desc="seeds"):
        rows += judged(originals, {"": unlearned(originals)}, config, seed)
        made = {
            name: learned(encoder, originals.train, config.flow, seed)
            for name, encoder in found.items()
        }
        rows += judged(originals, made, config, seed)
    return rows


def judged(
    originals: Originals,
    made: Mapping[str, Mapping[str, Sampler]],
    config: GeneratorsConfig,
    seed: int,
) -> list[Row]:
    """What `novelty.judge` says of the networks of some generators, by encoder and name."""
    rows = []
    for encoder, draws in made.items():
        for name, draw in draws.items():
            w = draw(config.n, stream(seed, "sample", encoder, name))
            row = {"generator": name, "encoder": encoder, "seed": seed}
            rows.append(row | asdict(novelty.judge(w, originals)))
    return rows


def steps_for(
    originals: Originals, encoder: EncoderConfig, config: GeneratorsConfig, batch: int
) -> float:
    """Steps of plain training that cost as much as a generated network, fitting included.

    Operations are counted; elementwise work and sampling (cheap beside fitting) are left out.

    Args:
        encoder: of a VAE of rows.
        batch: images of a step.
    """
    w, network = originals.train, originals.architecture
    vae = encoders.VAE(w, encoder)
    rows = ((w - vae.mean) / vae.std)[torch.arange(encoder.batch) % len(w)]
    noise = (torch.zeros_like(rows), torch.zeros(len(rows), vae.latent))
    codes = torch.zeros(config.flow.batch, vae.latent)
    field, t = flow.Flow(codes, config.flow).field, torch.zeros(len(codes))
    row = w[:1].clone().requires_grad_()
    optimiser = torch.optim.Adam([row])
    images, labels = (part[:batch] for part in originals.val)
    calls = {
        "encoder": lambda: encoders.vae_loss(vae, rows, noise)[0].backward(),
        "flow": lambda: flow.flow_loss(field, codes, codes, t).backward(),
        "sgd": lambda: step(network, row, optimiser, images, labels),
    }
    flops = {name: cost.count(call, vae).flops for name, call in calls.items()}
    fitting = encoder.steps * flops["encoder"] + config.flow.steps * flops["flow"]
    return fitting / config.n / flops["sgd"]


def trained(
    zoo: Zoo, originals: Originals, epochs: float, *, generator: torch.Generator
) -> Float[Tensor, " n params"]:
    """The held-out networks at the last kept epoch that is not after `epochs`, aligned.

    Args:
        generator: as `originals_of` got it.

    Raises:
        ConfigError: the zoo is of one run, or kept no such epoch.
    """
    have = [epoch for epoch in zoo.epochs if epoch <= epochs]
    if len(zoo) == 1 or not have:
        raise ConfigError(f"want many seeds and an epoch up to {epochs:.1f}: {zoo.epochs}")
    held_out = zoo.split((1 - HELD_OUT, HELD_OUT), generator)[1].at_epoch(have[-1])
    mean = originals.train.mean(0)
    return align.align(zoo.architecture, held_out, mean, generator=generator)


def study(
    path: Path | str,
    config: GeneratorsConfig,
    names: Sequence[str] = ("VAE", READS),
    *,
    seed: int = 0,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, object]:
    """All of the above for a zoo, or for a tail of norm layers, see `zoo_store.open_zoo`.

    Args:
        names: of the encoders in whose codes generators work.

    Raises:
        DataMissingError: no such store, or its images are not there.
        ConfigError: an unknown encoder.
    """
    distinct(config.seeds, "seeds")
    zoo, trained = open_zoo(path)
    if len(zoo) > 1:
        require_training(trained, path)
    splits = images_of(zoo, config.n_eval, root=root)
    originals = originals_of(zoo, splits, generator=stream(seed, "split"))
    for name in names:
        choose(fits(originals, config), name)
    kept, found = ceilings(originals, config, seed=seed, progress=progress)
    made = compare(originals, {n: found[n] for n in names}, config, progress=progress)
    facts = {"dataset": zoo.dataset, "network": zoo.architecture.name, "seeds": len(zoo)}
    facts |= {"train": len(originals.train), "held_out": len(originals.held_out)}
    if len(zoo) > 1:
        steps = steps_for(originals, config.vae, config, trained.batch)
        images = min(trained.n_train or len(splits.train.labels), len(splits.train.labels))
        facts["equal_epochs"] = steps / -(-images // trained.batch)
        facts["epochs"] = zoo.epochs[-1]
        raw = originals_of(zoo, splits, aligned=False, generator=stream(seed, "split"))
        same = (zoo, originals, raw, config)
        more, loose = of_seeds(*same, epochs=facts["equal_epochs"], seed=seed)
        made, kept = made + more, [*kept, loose]
    return {"facts": facts, "encoders": kept, "generators": made}


def again(
    path: Path | str,
    rows: Mapping[str, object],
    config: GeneratorsConfig,
    names: Sequence[str],
    *,
    seed: int = 0,
    root: Path | str | None = None,
) -> dict[str, object]:
    """What `study` found, some encoders and the generators in their codes measured anew.

    The rows that stood there before are kept as `replaced`.

    Raises:
        ConfigError: an encoder that `rows` does not tell of.
    """
    told = {row["encoder"]: row for row in rows["encoders"]}
    for name in names:
        choose(told, name)
    zoo = find_zoo(path)
    splits = images_of(zoo, config.n_eval, root=root)
    originals = originals_of(zoo, splits, generator=stream(seed, "split"))
    ways = {name: choose(fits(originals, config), name) for name in names}
    kept, found = ceilings(originals, config, seed=seed, ways=ways)
    told |= {row["encoder"]: row for row in kept}
    made = [row for row in rows["generators"] if row["encoder"] not in names]
    used = {row["encoder"] for row in rows["generators"]}
    for name in (n for n in names if n in used):
        for k in config.seeds:
            draws = {name: learned(found[name], originals.train, config.flow, k)}
            made += judged(originals, draws, config, k)
    both = (*rows["encoders"], *rows["generators"])
    old = [*rows.get("replaced", []), *(r for r in both if r["encoder"] in names)]
    parts = {"encoders": list(told.values()), "generators": made, "replaced": old}
    return {**rows, **parts}


def of_seeds(
    zoo: Zoo,
    originals: Originals,
    raw: Originals,
    config: GeneratorsConfig,
    *,
    epochs: float,
    seed: int,
) -> tuple[list[Row], Row]:
    """What only many seeds can show: equal compute, averages and a VAE without alignment.

    Args:
        raw: the originals before they were aligned.
        epochs: of equal compute.
    """
    ways, g = {}, stream(seed, "align")
    if len(raw.train) > 16:
        w = baselines.averages(raw.train, config.n, stream(seed, "raw"), of=16)
        same = align.align(zoo.architecture, w, originals.train.mean(0), generator=g)
        ways["average of 16, not aligned"] = same
    if zoo.epochs[0] <= epochs:
        same = trained(zoo, originals, epochs, generator=stream(seed, "split"))
        ways["training, equal compute"] = same
    rows = [
        {"generator": name, "encoder": "", "seed": seed}
        | asdict(novelty.judge(w, originals))
        for name, w in ways.items()
    ]
    vae = fits(raw, config)["VAE"]
    loose, _ = ceilings(raw, config, seed=seed, ways={"VAE, not aligned": vae})
    return rows, loose[0]
