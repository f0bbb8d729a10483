"""One generator for several data sets, told support images: table 2 of FLoWN at our scale."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from hyperlab.base import ConfigError, choose, distinct
from hyperlab.evaluation.tables import Row, over_seeds, table, with_interval
from hyperlab.identity import checksum
from hyperlab.models.cnn import Architecture
from hyperlab.weights import padding, retriever, zoo_store
from hyperlab.weights.context import KINDS
from hyperlab.weights.encoders import Encoder
from hyperlab.weights.flow import Prior
from hyperlab.weights.retriever import NONE, PAD, DataSet, RetrievalConfig
from hyperlab.weights.zoo import Zoo

import torch
import typer
from torch import Tensor
from tqdm import tqdm

import script
import study

OUT = Path("results/retrieval.json")
ORIGINALS = "originals"
NOTE = (
    "Accuracies in %, on test images; mean ± half a 95 % interval over seeds of encoder and flow "
    "(Student's t). All: mean of all networks of new support sets. Five: the best five on "
    "validation images. Gap: originals minus all, in points. Decoded: the originals, once through "
    "the one encoder."
)
HEADS = ("way", "support", "n", "all", "gap", "five", "distance", "decoded")


def main(
    zoos: Annotated[str, typer.Option(help="shipped or stores")] = "digits,glyphs,objects",
    scale: script.Scale = "laptop",
    seeds: Annotated[str, typer.Option(help="of encoder and flow")] = "0,1,2",
    kinds: Annotated[
        str, typer.Option(help="of context, the main one first")
    ] = "caml,means,one-hot,nothing",
    prior: Annotated[str, typer.Option(help="one more zoo, as a prior")] = "",
    steps: Annotated[str, typer.Option(help="of encoder and flow; none: the scale's")] = "",
    out: Annotated[Path, typer.Option(help="to write; seeds in it are left out")] = OUT,
    data: script.Data = None,
) -> None:
    """Every seed is kept as soon as it is done; the same command goes on."""
    config = RetrievalConfig.at(scale)
    if steps:
        vae, flow = script.numbers(steps, "--steps", n=2)
        config = replace(
            config,
            vae=replace(config.vae, steps=vae),
            flow=replace(config.flow, steps=flow),
        )
    wanted = script.numbers(seeds, "--seeds")
    parts = {"config": repr(config), "zoos": zoos, "kinds": kinds, "prior": prior}
    about = study.about("torch", **parts)
    study.require_all_same(STUDY.begun(out), parts)  # before the data sets are opened
    sets = open_sets(script.words(zoos), config, root=data)
    other = zoo_store.find_zoo(prior) if prior else None
    parts["checksums"] = {part.name: checksum(part) for part in sets}
    parts["prior networks"] = checksum(other and other.w)

    def new(seed: str) -> Row:
        rows = measure(sets, script.words(kinds), config, seed=int(seed), other=other)
        return {"rows": rows}

    STUDY.run(out, {str(seed): parts for seed in wanted}, new, about)


def open_sets(
    paths: Sequence[str], config: RetrievalConfig, *, root: Path | None = None
) -> list[DataSet]:
    """The data sets of zoos whose networks fit each other, two or more."""
    if len(paths) < 2:
        raise ConfigError(f"want two or more zoos, got {list(paths)}")
    zoos = [zoo_store.find_zoo(path) for path in paths]
    distinct([zoo.dataset for zoo in zoos], "data sets")
    retriever.common(zoos)
    bar = tqdm(zoos, desc="data sets")
    return [retriever.data_set(zoo, config, root=root) for zoo in bar]


def bank(zoo: Zoo, encoder: Encoder, widest: Architecture, noise: float = 0.0) -> Prior:
    """A prior of the codes of networks that were trained on other images.

    Args:
        noise: standard deviation added to each code, as a share of the codes' own.

    Source: FLoWN, arXiv:2503.19371, table 2 and section A.4.2. There it is one network of
    mini-ImageNet with N(0, 1) on its weights and a new head, encoded; here many networks' codes.
    """
    codes = encoder.encode(padding.pad_rows(zoo.architecture, widest, zoo.w[:, -1], PAD))
    spread = noise * (codes - codes.mean(0)).square().mean().sqrt()

    def draw(n: int, dim: int, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(codes), (n,), generator=generator)
        return codes[rows] + spread * torch.randn(n, dim, generator=generator)

    return draw


def ways(
    kinds: Sequence[str],
    config: RetrievalConfig,
    encoder: Encoder,
    widest: Architecture,
    other: Zoo | None = None,
) -> dict[str, tuple[str, RetrievalConfig]]:
    """Name -> kind of context and configuration, of every flow that is compared.

    Args:
        other: networks of other images, whose codes are one more prior for the first kind.
    """
    found = {kind: (kind, config) for kind in kinds}
    first, beside = kinds[0], replace(config, flow=replace(config.flow, join="latent"))
    if first != NONE:
        found[f"{first}, beside the code"] = (first, beside)
    for words, noise in {"": 0.0, ", spread": 1.0}.items() if other else ():
        prior = bank(other, encoder, widest, noise)
        start = replace(config, flow=replace(config.flow, prior=prior))
        found[f"{first}, from {other.dataset}{words}"] = (first, start)
    return found


def measure(
    sets: Sequence[DataSet],
    kinds: Sequence[str],
    config: RetrievalConfig,
    *,
    seed: int,
    other: Zoo | None = None,
) -> list[Row]:
    """One seed of everything: an encoder, the originals, and every flow on that encoder's codes.

    Args:
        other: of other images, for the prior of trained networks.
    """
    for kind in kinds:
        choose({**KINDS, NONE: None}, kind)
    if not kinds:
        raise ConfigError(f"want one or more kinds of context of {[*KINDS, NONE]}")
    names = [data.name for data in sets] + ([other.dataset] if other else [])
    distinct(names, "data sets of networks and prior")
    widest = retriever.common(sets)
    if other and retriever.common([*sets, other]).channels > widest.channels:
        raise ConfigError(f"networks of {other.dataset} have more channels than all others")
    same = {"seed": seed, "progress": tqdm}
    encoder = retriever.fit_encoder(sets, config, **same)
    first = retriever.originals_rows(sets, encoder, seed)
    rows = [{"way": ORIGINALS, **row} for row in first]
    for name, (kind, settings) in ways(kinds, config, encoder, widest, other).items():
        model = retriever.fit_retriever(sets, encoder, kind, settings, **same)
        found = retriever.judge(model, sets, settings, seed=seed)
        rows += [{"way": name, **row} for row in found]
    return rows


def markdown(seeds: Mapping[str, Row]) -> str:
    """All tables; they average over seeds."""
    about = next(iter(seeds.values()))["about"]
    rows = [row for found in seeds.values() for row in found["rows"]]
    means = {
        (row["way"], row["support"]): row for row in over_seeds(rows, "way", "support")
    }
    lines = ["# Retrieval", "", NOTE, "", f"`{about['command']}`", ""]
    lines += [f"`{about['config']}`", ""]
    first = {at: means[ORIGINALS, at]["accuracy"] for _, at in means}
    lines += table(HEADS, [cells(row, first[at]) for (_, at), row in means.items()])
    for way in dict.fromkeys(row["way"] for row in rows):
        if matrix := confusion([row for row in rows if row["way"] == way]):
            lines += ["", f"## {way}: support set (row), works on (column)", ""]
            body = [
                [name, *(f"{100 * part[n]:.1f}" for n in matrix)]
                for name, part in matrix.items()
            ]
            lines += table(["", *matrix], body)
    return "\n".join(lines) + "\n"


def confusion(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Support set -> data set -> mean accuracy there, over seeds."""
    found: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        if "works_on" in row:
            found.setdefault(row["support"], []).append(row["works_on"])
    return {
        support: {name: statistics.fmean(part[name] for part in same) for name in same[0]}
        for support, same in found.items()
    }


def cells(row: Row, first: float) -> list[object]:
    """A row of the table, beside the accuracy of the originals."""
    accuracy = f"{100 * row['accuracy']:.1f}"
    if row["n_seeds"] > 1 and row["way"] != ORIGINALS:  # no sample: the same for every seed
        accuracy = with_interval(row["accuracy"], row["accuracy_pm"])
    gap = f"{100 * (first - row['accuracy']):.1f}"
    decoded = f"{100 * row['decoded']:.1f}" if "decoded" in row else ""
    count, five = f"{row['n_seeds']} x {row['n']}", f"{100 * row['chosen']:.1f}"
    return [
        row["way"], row["support"], count, accuracy, gap, five, f"{row['distance']:.2f}", decoded
    ]  # fmt: skip


STUDY = study.Study("seeds", markdown, joint=True)

if __name__ == "__main__":
    script.run(main)
