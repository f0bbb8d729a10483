"""One generator for several data sets: support images choose whose networks come out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Progress, choose, silent, stream
from ..models.cnn import Architecture
from ..tasks.episodes import LabelledImages
from . import context, couplings, encoders, flow, novelty, padding
from .context import KINDS, ContextEncoder
from .encoders import Encoder, EncoderConfig
from .flow import Flow, FlowConfig
from .novelty import Originals
from .originals import images_of, originals_of
from .recipes import RECIPES, Images, Recipe
from .zoo import Zoo, accuracies

Row = dict[str, object]

NONE = "nothing"  # the kind of a flow that is told the time alone
PAD = "channels"  # how grey networks become coloured ones


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig:
    """How the one encoder and the one flow are fitted, and how many networks are judged."""

    vae: EncoderConfig = EncoderConfig()
    flow: FlowConfig = FlowConfig(join="layers", coupling="optimal_within", steps=8_000)
    n_shot: int = 5  # images of every class in a support set
    n_draws: int = 16  # support sets of a data set that the flow is fitted with
    n_tests: int = 10  # new support sets of a data set
    n_each: int = 5  # networks for each of them
    n_pool: int = (
        1_000  # most training images that support sets come from; as many new ones
    )
    n_eval: int = 1_000  # images of validation, and of test

    def __post_init__(self) -> None:
        couplings.require_within(self.flow.coupling, 1)

    @classmethod
    def at(cls, scale: str) -> "RetrievalConfig":
        """Presets; "paper" is the largest, not FLoWN's table 6."""
        few = EncoderConfig(width=64, steps=20, batch=8)
        quick = replace(cls.flow, width=32, depth=1, steps=30, batch=16)
        sizes = {"n_shot": 2, "n_draws": 2, "n_tests": 2, "n_each": 2}
        smoke = cls(vae=few, flow=quick, **sizes, n_pool=150, n_eval=50)
        paper = cls(
            vae=EncoderConfig.at("paper"),
            flow=replace(cls.flow, steps=30_000),
            n_each=20,
        )
        return choose({"smoke": smoke, "laptop": cls(), "paper": paper}, scale)


@dataclass(frozen=True, eq=False)
class DataSet:
    """A data set's networks, aligned to their own mean, and its images.

    Args:
        known: training images that the flow's support sets come from.
        new: other training images, for the support sets of reports.
    """

    name: str
    originals: Originals
    known: LabelledImages
    new: LabelledImages

    @property
    def architecture(self) -> Architecture:
        return self.originals.architecture


def shown(recipe: Recipe, part: Images, n_classes: int) -> LabelledImages:
    """Prepared images as they were: in [0, 1], grey ones in three equal channels."""
    images = (part.images * recipe.spread + recipe.centre).clamp(0, 1)
    images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
    return LabelledImages(images, part.labels, n_classes)


def data_set(
    zoo: Zoo, config: RetrievalConfig, *, seed: int = 0, root: Path | str | None = None
) -> DataSet:
    """A zoo's last epoch, a fifth held out, and images of its data set.

    Raises:
        DataMissingError: the images are not there.
        ConfigError: too few training images for support sets.
    """
    splits, recipe = images_of(zoo, config.n_eval, root=root), RECIPES[zoo.dataset]
    originals = originals_of(zoo, splits, generator=stream(seed, "split"))
    n = min(config.n_pool, len(splits.train.labels) // 2)
    halves = (slice(n), slice(n, 2 * n))
    known, new = (
        shown(recipe, Images(*(x[half] for x in splits.train)), splits.n_classes)
        for half in halves
    )
    for pool in (known, new):
        context.require_every_class(pool.labels, pool.n_way)
    return DataSet(zoo.dataset, originals, known, new)


def common(sets: Sequence[DataSet | Zoo]) -> Architecture:
    """The architecture with most channels; ConfigError unless all others can be padded to it."""
    networks = [data.architecture for data in sets]
    widest = max(networks, key=lambda network: network.channels)
    for network in networks:
        padding.pad_rows(network, widest, torch.zeros(1, network.n_params), PAD)
    return widest


@dataclass(frozen=True, eq=False)
class Retriever:
    """One generator of networks for several data sets.

    Args:
        flow: in the encoder's codes, told a context, or nothing.
        common: what the encoder's rows are.
        readers: of every data set, what makes its context; none if the flow is told nothing.
    """

    encoder: Encoder
    flow: Flow
    common: Architecture
    readers: Mapping[str, ContextEncoder]

    def condition(self, name: str, support: LabelledImages) -> Float[Tensor, " c"] | None:
        """The context of these images of the data set of that name."""
        return self.readers[name](support) if self.readers else None

    def networks(
        self, condition: Float[Tensor, "*n c"] | None, n: int, generator: torch.Generator
    ) -> Float[Tensor, " n params"]:
        """Generated networks, with as many channels as `common` has; one is told each, or all."""
        return self.encoder.decode(
            self.flow.sample(n, generator=generator, context=condition)
        )

    def cut(self, w: Float[Tensor, " n params"], data: DataSet) -> Float[Tensor, " n less"]:
        """The same as networks for a data set's images."""
        return padding.cut_rows(self.common, data.architecture, w, PAD)


def padded(data: DataSet, widest: Architecture) -> Float[Tensor, " n params"]:
    """A data set's training networks with as many channels as the widest has."""
    return padding.pad_rows(data.architecture, widest, data.originals.train, PAD)


def fit_encoder(
    sets: Sequence[DataSet],
    config: RetrievalConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Encoder:
    """One autoencoder of the networks of all data sets."""
    widest = common(sets)
    w = torch.cat([padded(data, widest) for data in sets])
    g = stream(seed, "retrieval", "encoder")
    return encoders.fit_vae(w, config.vae, generator=g, progress=progress)


def fit_retriever(
    sets: Sequence[DataSet],
    encoder: Encoder,
    kind: str,
    config: RetrievalConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Retriever:
    """One flow to the codes of all data sets' networks, conditioned on random support sets.

    Every network is paired with every one of its data set's `n_draws` support sets. Starts are
    coupled within a data set, or within all where the flow sees no context.

    Args:
        kind: of context, in `context.KINDS`, or "nothing".
    """
    widest = common(sets)
    codes = [encoder.encode(padded(data, widest)) for data in sets]
    readers: dict[str, ContextEncoder] = {}
    stacked, rows = None, codes
    if kind != NONE:
        make = choose({**KINDS, NONE: None}, kind)
        readers = {data.name: make(i, len(sets)) for i, data in enumerate(sets)}
        stacked = []
        for z, data in zip(codes, sets, strict=True):
            reader, g = readers[data.name], stream(seed, "support", data.name)
            sizes = {"n_shot": config.n_shot, "generator": g}
            drawn = context.draw_contexts(reader, data.known, config.n_draws, **sizes)
            stacked.append(drawn.repeat(len(z), 1))
        stacked = torch.cat(stacked)
        rows = [z.repeat_interleave(config.n_draws, 0) for z in codes]
    conditions = range(len(sets)) if readers else [0] * len(sets)
    labels = torch.tensor([c for c, z in zip(conditions, rows, strict=True) for _ in z])
    g = stream(seed, "retrieval", "flow", kind)
    options = {"context": stacked, "labels": labels, "generator": g, "progress": progress}
    found = flow.fit_flow(torch.cat(rows), config.flow, **options)
    return Retriever(encoder, found, widest, readers)


def retrieved(
    model: Retriever, data: DataSet, config: RetrievalConfig, *, seed: int
) -> Float[Tensor, " n params"]:
    """Networks for new support sets of a data set: `n_each` for each of `n_tests`."""
    g, condition = stream(seed, "retrieve", data.name), None
    if model.readers:
        condition = context.draw_contexts(
            model.readers[data.name],
            data.new,
            config.n_tests,
            n_shot=config.n_shot,
            generator=g,
        )
        condition = condition.repeat_interleave(config.n_each, 0)
    return model.networks(condition, config.n_tests * config.n_each, g)


def judge(
    model: Retriever,
    sets: Sequence[DataSet],
    config: RetrievalConfig,
    *,
    seed: int,
) -> list[Row]:
    """A row for every data set whose images are shown: how good and how new, and where else.

    `works_on` is the mean accuracy of the same networks on each data set's test images, with that
    data set's activation and preparation: a row of the confusion matrix.
    """
    rows = []
    for data in sets:
        w = retrieved(model, data, config, seed=seed)
        works = {other.name: _accuracy(other, model.cut(w, other)) for other in sets}
        report = asdict(novelty.judge(model.cut(w, data), data.originals))
        rows.append({"support": data.name, "seed": seed, **report, "works_on": works})
    return rows


def _accuracy(data: DataSet, w: Float[Tensor, " n params"]) -> float:
    return float(accuracies(data.architecture, w, *data.originals.test).mean())


def originals_rows(sets: Sequence[DataSet], encoder: Encoder, seed: int) -> list[Row]:
    """The training networks, and what the one encoder leaves of them."""
    widest, rows = common(sets), []
    for data in sets:
        w = encoder.decode(encoder.encode(padded(data, widest)))
        w = padding.cut_rows(widest, data.architecture, w, PAD)
        row = {"support": data.name, "seed": seed, "decoded": _accuracy(data, w)}
        rows.append(row | asdict(novelty.judge_originals(data.originals)))
    return rows
