"""What encoders keep of zoos, and what generators make of them: table 1 of FLoWN at our scale."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, choose, distinct, stream
from hyperlab.evaluation import cost
from hyperlab.evaluation.ceilings import READS, EncodersConfig, ceilings, fits
from hyperlab.evaluation.tables import Row, over_seeds, table, with_interval
from hyperlab.models.cnn import Architecture
from hyperlab.weights import align, baselines, diffusion, encoders, flow, novelty, zoo_store
from hyperlab.weights.encoders import Encoder
from hyperlab.weights.flow import FlowConfig
from hyperlab.weights.novelty import Originals
from hyperlab.weights.originals import HELD_OUT, images_of, originals_of
from hyperlab.weights.zoo import Zoo, step

import torch
import typer
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

import script
import study

Sampler = Callable[[int, torch.Generator], Tensor]  # (k, stream) -> k x params
Samplers = Mapping[tuple[str, str], Sampler]  # by encoder and name

OUT = Path("results/generators.json")
HEADS = {
    "accuracy": "accuracy", "sd": "sd", "best": "best", "chosen": "five chosen",
    "failures": "failures", "max_iou": "IoU", "distance": "distance", "apart": "apart",
    "gain": "ensemble",
}  # fmt: skip
KEPT = ("zoo", "encoder", "numbers", "before", "training networks", "held-out networks")
NOTE = (
    "Accuracies in %, on test images, of all networks a generator made; sd over networks; ± half "
    "a 95 % interval over generator seeds (Student's t). Five chosen: on validation images. IoU: "
    "of wrong predictions with the most alike training network. Distance: to the nearest training "
    "network, 1 is what held-out networks have. Apart: of two of them. Ensemble: points that ten "
    "together gain."
)


@dataclass(frozen=True, kw_only=True)
class GeneratorsConfig:
    """How encoders and generators are fitted, and how many networks each makes."""

    encoders: EncodersConfig = EncodersConfig()
    flow: FlowConfig = FlowConfig()
    n: int = 50  # networks of every generator
    seeds: tuple[int, ...] = (0, 1, 2)  # of the generators
    n_eval: int = 1_000  # images of validation, and of test

    def __post_init__(self) -> None:
        distinct(self.seeds, "seeds")

    @classmethod
    def at(cls, scale: str) -> "GeneratorsConfig":
        """Presets; "paper" makes more networks, and has nothing of FLoWN's tables."""
        few = EncodersConfig.at("smoke")
        quick = FlowConfig(width=32, depth=1, steps=20, batch=8)
        smoke = cls(encoders=few, flow=quick, n=4, seeds=(0, 1), n_eval=50)
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls(n=200)}, scale)


def main(
    zoos: Annotated[str, typer.Option(help="stores or files, with commas")],
    scale: script.Scale = "laptop",
    seed: script.Seed = 0,
    encoders: Annotated[str, typer.Option(help="that generators use")] = "VAE,graph",
    again: Annotated[str, typer.Option(help="encoders to measure anew, with ;")] = "",
    steps: Annotated[int, typer.Option(help="of flow and diffusion; 0: the scale's")] = 0,
    out: Annotated[
        Path, typer.Option(help="to write; what it has of just this is kept")
    ] = OUT,
    data: script.Data = None,
) -> None:
    """Some minutes a zoo; of one whose rows are there only `again`, or nothing, is measured."""
    config = GeneratorsConfig.at(scale)
    config = replace(config, flow=replace(config.flow, steps=steps or config.flow.steps))
    about = study.about("torch", "scipy", seed=seed, config=repr(config))
    script.no_effect("--encoders", when=again, why="--again names those to measure")
    names = again.split(";") if again else script.words(encoders)
    paths, asked, same = script.by_stem(zoos), {}, {"seed": seed, "root": data}
    if again and (lacking := paths.keys() - STUDY.begun(out).keys()):
        raise ConfigError(f"{out} has no rows of {', '.join(lacking)}: leave out --again")
    for name, path in paths.items():  # all is there before the first is measured
        zoo = zoo_store.find_zoo(path)
        images = {zoo.dataset: images_of(zoo, config.n_eval, root=data)}
        asked[name] = study.made_of(zoo, images, config, seed=seed, encoders=encoders)

    def once_more(name: str, row: Row) -> Row:
        found = measure_again(row, paths[name], config, names, **same)
        return found | {"again": row.get("again", {}) | dict.fromkeys(names, about)}

    def new(name: str) -> Row:
        return measure(paths[name], config, names, **same)

    STUDY.run(out, asked, new, about, again=once_more if again else None)


def measure(
    path: Path | str,
    config: GeneratorsConfig,
    names: Sequence[str] = ("VAE", READS),
    *,
    seed: int = 0,
    root: Path | None = None,
) -> Row:
    """All of a zoo, or of a tail of norm layers.

    Args:
        names: of the encoders in whose codes generators work.
    """
    zoo, training = zoo_store.open_zoo(path)
    if len(zoo) > 1:
        zoo_store.require_training(training, path)
    splits = images_of(zoo, config.n_eval, root=root)
    originals = originals_of(zoo, splits, generator=stream(seed, "split"))
    ways = fits(originals, config.encoders)
    for name in names:
        choose(ways, name)
    kept, fitted = ceilings(originals, ways, seed=seed, progress=tqdm)
    rows = compare(originals, {n: fitted[n] for n in names}, config)
    facts = {"dataset": zoo.dataset, "network": zoo.architecture.name, "seeds": len(zoo)}
    facts |= {"train": len(originals.train), "held_out": len(originals.held_out)}
    if len(zoo) > 1:
        n = len(splits.train.labels)
        steps = -(-min(training.n_train or n, n) // training.batch)  # of an epoch
        epochs = steps_for(originals, config, training.batch) / steps
        facts |= {"equal_epochs": epochs, "epochs": zoo.epochs[-1]}
        raw = originals_of(zoo, splits, aligned=False, generator=stream(seed, "split"))
        rows += of_seeds(zoo, originals, raw, config, epochs=epochs, seed=seed)
        loose = {"VAE, not aligned": fits(raw, config.encoders)["VAE"]}
        kept += ceilings(raw, loose, seed=seed)[0]
    return {"facts": facts, "encoders": kept, "generators": rows}


def measure_again(
    row: Row,
    path: Path | str,
    config: GeneratorsConfig,
    names: Sequence[str],
    *,
    seed: int = 0,
    root: Path | None = None,
) -> Row:
    """A row with some encoders, and the generators in their codes, measured anew.

    What stood there before is kept as `replaced`.
    """
    by_name = {r["encoder"]: r for r in row["encoders"]}
    for name in names:
        choose(by_name, name)
    zoo = zoo_store.find_zoo(path)
    splits = images_of(zoo, config.n_eval, root=root)
    originals = originals_of(zoo, splits, generator=stream(seed, "split"))
    ways = fits(originals, config.encoders)
    kept, fitted = ceilings(originals, {n: choose(ways, n) for n in names}, seed=seed)
    by_name |= {r["encoder"]: r for r in kept}
    used = {r["encoder"] for r in row["generators"]}
    fitted = {name: encoder for name, encoder in fitted.items() if name in used}
    rows = [r for r in row["generators"] if r["encoder"] not in names]
    for k in config.seeds:
        rows += in_codes(originals, fitted, config, k)
    both = (*row["encoders"], *row["generators"])
    old = [*row.get("replaced", []), *(r for r in both if r["encoder"] in names)]
    parts = {"encoders": [*by_name.values()], "generators": rows, "replaced": old}
    return {**row, **parts}


def learned(
    name: str,
    encoder: Encoder,
    w: Float[Tensor, " n params"],
    config: FlowConfig,
    seed: int,
) -> Samplers:
    """FLoWN, its rival AE-DDPM and the encoder's own prior, fitted to the codes of w."""
    codes = encoder.encode(w)
    ours = flow.fit_flow(codes, config, generator=stream(seed, "flow"))
    rival = diffusion.fit_diffusion(codes, config, generator=stream(seed, "diffusion"))

    def prior(k: int, generator: torch.Generator) -> Tensor:
        return torch.randn(k, encoder.latent, generator=generator)

    def decoded(draw: Callable[..., Tensor]) -> Sampler:
        return lambda k, generator: encoder.decode(draw(k, generator=generator))

    ways = {"FLoWN": ours.sample, "AE-DDPM": rival.sample, "VAE prior": prior}
    return {(name, way): decoded(draw) for way, draw in ways.items()}


def unlearned(originals: Originals) -> Samplers:
    """Every baseline, and untrained networks where all of a network is generated."""
    ways = baselines.possible(len(originals.train))
    if isinstance(network := originals.architecture, Architecture):
        ways["untrained"] = baselines.RandomInit(network)
    return {
        ("", name): lambda k, generator, of=of: of(originals.train, k, generator)
        for name, of in ways.items()
    }


def row_of(
    name: str,
    w: Float[Tensor, " n params"],
    originals: Originals,
    seed: int,
    encoder: str = "",
) -> Row:
    """What `novelty.judge` says of a generator's networks."""
    row = {"generator": name, "encoder": encoder, "seed": seed}
    return row | asdict(novelty.judge(w, originals))


def judged(
    originals: Originals, ways: Samplers, config: GeneratorsConfig, seed: int
) -> list[Row]:
    """A row of every generator, of one seed."""
    rows = []
    for (encoder, name), draw in ways.items():
        w = draw(config.n, stream(seed, "sample", encoder, name))
        rows.append(row_of(name, w, originals, seed, encoder))
    return rows


def in_codes(
    originals: Originals, fitted: Mapping[str, Encoder], config: GeneratorsConfig, seed: int
) -> list[Row]:
    """The same of those that work in the codes of encoders."""
    w, rows = originals.train, []
    for name, encoder in fitted.items():
        ways = learned(name, encoder, w, config.flow, seed)
        rows += judged(originals, ways, config, seed)
    return rows


def compare(
    originals: Originals, fitted: Mapping[str, Encoder], config: GeneratorsConfig
) -> list[Row]:
    """The originals, then every generator and every seed."""
    first = {"generator": "originals", "encoder": "", "seed": 0}
    rows = [first | asdict(novelty.judge_originals(originals))]
    rows.append(row_of("held-out", originals.held_out, originals, 0))
    for seed in tqdm(config.seeds, desc="seeds"):
        rows += judged(originals, unlearned(originals), config, seed)
        rows += in_codes(originals, fitted, config, seed)
    return rows


def steps_for(originals: Originals, config: GeneratorsConfig, batch: int) -> float:
    """Steps of plain training that cost as much as a generated network, fitting included.

    Operations are counted; elementwise work and sampling (cheap beside fitting) are left out.

    Args:
        batch: images of a step.
    """
    w, network, settings = originals.train, originals.architecture, config.encoders.vae
    vae = encoders.VAE(w, settings)
    rows = ((w - vae.mean) / vae.std)[torch.arange(settings.batch) % len(w)]
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
    fitting = settings.steps * flops["encoder"] + config.flow.steps * flops["flow"]
    return fitting / config.n / flops["sgd"]


def trained(
    zoo: Zoo, originals: Originals, epochs: float, *, generator: torch.Generator
) -> Float[Tensor, " n params"]:
    """The held-out networks at the last kept epoch that is not after `epochs`, aligned.

    Args:
        generator: as `originals_of` got it.
    """
    have = [epoch for epoch in zoo.epochs if epoch <= epochs]
    if len(zoo) == 1 or not have:
        raise ConfigError(f"want many seeds and an epoch up to {epochs:.1f}: {zoo.epochs}")
    held_out = zoo.split((1 - HELD_OUT, HELD_OUT), generator)[1].at_epoch(have[-1])
    mean = originals.train.mean(0)
    return align.align(zoo.architecture, held_out, mean, generator=generator)


def of_seeds(
    zoo: Zoo,
    originals: Originals,
    raw: Originals,
    config: GeneratorsConfig,
    *,
    epochs: float,
    seed: int,
) -> list[Row]:
    """What only many seeds can show: `epochs` of equal compute, and averages of `raw` networks."""
    ways = {}
    if len(raw.train) > 16:
        g = stream(seed, "align")
        w = baselines.averages(raw.train, config.n, stream(seed, "raw"), of=16)
        same = align.align(zoo.architecture, w, originals.train.mean(0), generator=g)
        ways["average of 16, not aligned"] = same
    if zoo.epochs[0] <= epochs:
        same = trained(zoo, originals, epochs, generator=stream(seed, "split"))
        ways["training, equal compute"] = same
    return [row_of(name, w, originals, seed) for name, w in ways.items()]


def markdown(zoos: Mapping[str, Mapping]) -> str:
    """The tables of all zoos: what encoders keep, then what generators make."""
    lines = ["# What encoders keep", "", "Median loss of accuracy in points.", ""]
    rows = [(name, row) for name, found in zoos.items() for row in found["encoders"]]
    lines += table(KEPT, [[name, *kept_cells(row)] for name, row in rows])
    lines += ["", "# What generators make", "", NOTE]
    for name, found in zoos.items():
        lines += ["", f"## {name}", "", f"`{found['about']['command']}`", ""]
        for encoder, about in found.get("again", {}).items():
            lines += [f"{encoder}, {anew(found['about'], about)}: `{about['command']}`", ""]
        lines += of_generators(found["generators"])
        if old := [row for row in found.get("replaced", []) if "generator" in row]:
            lines += ["", "Replaced, and seen before:", "", *of_generators(old)]
        if "epochs" in found["facts"]:
            lines += ["", pays(found)]
    return "\n".join(lines) + "\n"


def anew(about: Mapping[str, object], again: Mapping[str, object]) -> str:
    """What an encoder's second measurement differs in: that rows had been seen, and the steps."""
    runs = (re.search(r"flow=.*?steps=(\d+)", str(x.get("config"))) for x in (about, again))
    first, then = (found and found[1] for found in runs)
    more = f", with {then} steps of flow and diffusion instead of {first}"
    return "measured again after its rows had been seen" + (more if first != then else "")


def breaks_even(found: Mapping[str, object]) -> tuple[float, float]:
    """From how many networks on generating costs less than training each plainly.

    Without the cost of the zoo, and with that of the networks the generator was fitted to.
    """
    facts = found["facts"]
    n = next(row["n"] for row in found["generators"] if row["generator"] == "FLoWN")
    alone = facts["equal_epochs"] * n / facts["epochs"]
    return alone, alone + facts["train"]


def pays(found: Mapping[str, object]) -> str:
    """What equal compute is, and where it ends."""
    facts, (alone, zoo) = found["facts"], breaks_even(found)
    total = alone * facts["epochs"]
    return (
        f"Operations: fitting the VAE of rows and its flow costs {total:.0f} epochs of plain "
        f"training of one network, {facts['equal_epochs']:.1f} for each generated one. `training, "
        "equal compute`: the held-out networks at the last epoch up to that. The zoo's trained "
        f"for {facts['epochs']}, so generating costs less from {ceil(alone)} networks on; with the "
        f"training of the {facts['train']} that it was fitted to, from {ceil(zoo)} on."
    )


def kept_cells(row: Row) -> list[object]:
    """An encoder's row of the table."""
    drops = [f"{row[f'{part}_drop']:.1f}" for part in ("train", "held_out")]
    return [row["encoder"], row["numbers"], f"{100 * row['train_before']:.1f}", *drops]


def of_generators(rows: Sequence[Row]) -> list[str]:
    """A table of generators, means over their seeds."""
    means = over_seeds(rows, "encoder", "generator")
    return table(["generator", "n", *HEADS.values()], map(cells, means))


def cells(row: Row) -> list[str]:
    """A generator's row of the table."""
    name = f"{row['generator']}, {row['encoder']}" if row["encoder"] else row["generator"]
    words = {k: f"{row[k]:.2f}" for k in HEADS}
    for k in ("accuracy", "sd", "best", "chosen", "gain"):
        words[k] = f"{100 * row[k]:.1f}"
    if row["n_seeds"] > 1:
        words["accuracy"] = with_interval(row["accuracy"], row["accuracy_pm"])
    words["failures"] = f"{row['failures']:.0f}"
    return [name, f"{row['n_seeds']} x {row['n']}", *words.values()]


STUDY = study.Study("zoos", markdown)

if __name__ == "__main__":
    script.run(main)
