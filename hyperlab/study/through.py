"""A generator of networks fine-tuned on a new data set, and what else the same compute buys."""

import copy
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ConfigError, Progress, choose, distinct, silent, stream
from ..weights import encoders, flow, generate, recipes, zoo_store
from ..weights.encoders import EncoderConfig
from ..weights.flow import FlowConfig
from ..weights.generate import Maker, ThroughConfig
from ..weights.novelty import Originals
from ..weights.recipes import RECIPES, Images, Splits
from ..weights.zoo import Zoo, accuracies, predict
from . import cost, generators, timing
from .generators import READS, GeneratorsConfig

Row = dict[str, object]
Call = Callable[[], object]

ROWS = "VAE"  # the encoder of whole rows
THROUGH, ANCHORED = "through the ODE", "through the ODE, anchored"
SHARED, SINGLE = "plain training, shared", "plain training, one network"
FRESH, CODES = "plain training, untrained", "codes alone"
THROUGHS = (THROUGH, ANCHORED)
BEFORE = "before"
# Learning rates of Adam that are tried on validation images, by what is moved.
LRS = MappingProxyType(
    {
        THROUGH: (3e-4, 1e-3),
        ANCHORED: (3e-4, 1e-3),
        SHARED: (3e-3, 1e-2),
        SINGLE: (3e-3, 1e-2),
        FRESH: (3e-3, 1e-2),
        CODES: (3e-2, 1e-1),
    }
)
STOPS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)  # t' of the costs


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """How generators are fitted to a base zoo and fine-tuned on a target."""

    vae: EncoderConfig = EncoderConfig(steps=600, width=256)
    graph: EncoderConfig = EncoderConfig(steps=400, width=256, batch=16, lr=2e-3)
    flow: FlowConfig = FlowConfig(steps=1_500, width=128)
    through: ThroughConfig = ThroughConfig(networks=4, updates=100)
    n: int = 50  # networks that are judged
    seeds: tuple[int, ...] = (0, 1, 2)  # of flows, samples and fine-tuning
    n_eval: int = 500  # images of validation, and of test

    def __post_init__(self) -> None:
        distinct(self.seeds, "seeds")

    @classmethod
    def at(cls, scale: str) -> "StudyConfig":
        """Presets; "paper" is the largest, not FLoWN's table 9."""
        few = EncoderConfig(width=16, steps=5, batch=4)
        quick = FlowConfig(width=16, depth=1, steps=10, batch=8)
        through = ThroughConfig.at("smoke")
        smoke = cls(vae=few, graph=few, flow=quick, through=through, n=3, n_eval=50)
        paper = cls(through=ThroughConfig.at("paper"), n_eval=0)
        small = replace(smoke, seeds=(0, 1))
        return choose({"smoke": small, "laptop": cls(), "paper": paper}, scale)


def images_for(zoo: Zoo, target: str, *, root: Path | str | None = None) -> Splits:
    """The images of a target, prepared as the networks of a zoo are used to see images.

    Raises:
        DataMissingError: they are not there.
        ConfigError: there is no such data set, or it has another number of classes.
    """
    network, theirs = zoo.architecture, choose(RECIPES, target)
    own = choose(RECIPES, zoo.dataset)
    told = {"architecture": network.name, "channels": network.channels}
    told |= {"centre": own.centre, "spread": own.spread}
    splits = recipes.load(replace(theirs, **told), root=root)
    if splits.n_classes != network.n_classes:
        raise ConfigError(
            f"networks of {zoo.dataset} tell {network.n_classes} classes apart, {target} has "
            f"{splits.n_classes}"
        )
    return splits


def encoder_of(originals: Originals, kind: str, config: StudyConfig) -> encoders.Encoder:
    """The encoder of that kind, ROWS or READS, fitted to the training networks."""
    fits = generators.fits(originals, GeneratorsConfig(vae=config.vae, graph=config.graph))
    return choose(fits, kind)(stream(0, "through", "encoder", kind))


def maker_of(
    originals: Originals, encoder: encoders.Encoder, config: StudyConfig, seed: int
) -> tuple[Maker, Float[Tensor, " n latent"]]:
    """A flow fitted to the codes of the training networks, and these codes."""
    codes = encoder.encode(originals.train)
    model = flow.fit_flow(codes, config.flow, generator=stream(seed, "through", "flow"))
    return Maker(model, encoder, originals.architecture), codes


def operations(
    maker: Maker, codes: Tensor, data: Images, config: ThroughConfig
) -> dict[str, int]:
    """Way -> operations of one update: of the generator, or of Adam on one network or code."""
    made = learning(maker)
    some, g = data.first(config.batch), stream(0, "count")
    x0, field = made.start(config.networks, g), list(made.flow.field.parameters())
    with torch.no_grad():
        row = made.networks(x0[:1], config)
    once = replace(config, updates=1)

    def adam(make: Callable[[Tensor], Tensor], points: Tensor) -> Call:
        network = made.architecture
        moves = generate.descend(make, points, network, some, once, generator=g)
        return lambda: deque(moves, maxlen=0)

    calls = {
        THROUGH: lambda: generate.gradient(made, x0, some, config),
        "anchor": lambda: torch.autograd.grad(
            generate.source_loss(made, codes, config, g), field
        ),
        SHARED: adam(_same, row),
        CODES: adam(made.encoder.decode, made.encoder.encode(row)),
    }
    found = {name: cost.count(call, made.flow).flops for name, call in calls.items()}
    found[ANCHORED] = found[THROUGH] + found.pop("anchor")
    return found | dict.fromkeys((SINGLE, FRESH), found[SHARED])


def learning(maker: Maker) -> Maker:
    """A copy of the maker whose field takes gradients."""
    made = replace(maker, flow=copy.deepcopy(maker.flow))
    made.flow.field.requires_grad_()
    return made


def costs(
    maker: Maker, data: Images, config: ThroughConfig, stops: Sequence[float] = STOPS
) -> list[Row]:
    """What one update needs for every t': operations, memory and seconds; its gradient's norm."""
    made = learning(maker)
    some, x0 = data.first(config.batch), made.start(config.networks, stream(0, "count"))
    rows = []
    for stop in stops:
        at = replace(config, detach=stop)

        call = partial(generate.gradient, made, x0, some, at)

        found = cost.count(call, made.flow)
        row = {"stop": at.knot / at.steps, "flops": found.flops}
        row |= {"saved_bytes": found.saved_bytes, "seconds": timing.median_s(call)}
        norm = torch.cat([g.flatten() for g in call()[1]]).norm()
        rows.append({**row, "norm": float(norm)})
    return rows


@dataclass(frozen=True, eq=False)
class Setting:
    """One generator, one target, one seed."""

    maker: Maker
    codes: Float[Tensor, " n latent"]  # of the base's training networks
    splits: Splits  # of the target
    config: StudyConfig
    seed: int

    @property
    def starts(self) -> Float[Tensor, " n latent"]:
        """The points of the prior whose networks are judged, before and after."""
        return self.maker.start(self.config.n, stream(self.seed, "through", "judged"))

    @torch.no_grad()
    def sampled(self, maker: Maker) -> Float[Tensor, " n params"]:
        return maker.networks(self.starts, self.config.through)


def settings_of(
    originals: Originals, kind: str, splits: Splits, config: StudyConfig
) -> list[Setting]:
    """One encoder, and a flow in its codes for every seed."""
    encoder = encoder_of(originals, kind, config)
    return [
        Setting(*maker_of(originals, encoder, config, seed), splits, config, seed)
        for seed in config.seeds
    ]


def ways(here: Setting, count: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Way -> networks that it moves at once, and updates: no more operations than THROUGH has."""
    n, total = here.config.n, here.config.through.updates * count[THROUGH]
    shares = {THROUGH: 1, ANCHORED: 1, SHARED: n, CODES: n, SINGLE: 1, FRESH: 1}
    moved = shares | dict.fromkeys(THROUGHS, n)
    return {
        way: (moved[way], max(1, floor(total / share / count[way])))
        for way, share in shares.items()
    }


def run(
    here: Setting, way: str, lr: float, plan: tuple[int, int]
) -> tuple[Float[Tensor, " n params"], Maker]:
    """The networks that a way ends with, and the maker if it changed one."""
    n, updates = plan
    config = replace(here.config.through, lr=lr, updates=updates)
    maker, train, g = here.maker, here.splits.train, stream(here.seed, "through", way)
    if way in THROUGHS:
        config = replace(config, anchor=float(way == ANCHORED))
        tuned = generate.finetune_through(
            maker, train, config, generator=g, codes=here.codes
        )
        return here.sampled(tuned), tuned
    make, points = _same, here.sampled(maker)[:n]
    if way == FRESH:
        fresh = stream(here.seed, "through", "untrained")
        points = recipes.untrained(maker.architecture, "kaiming_uniform", fresh)[None]
    if way == CODES:
        make, points = maker.encoder.decode, maker.encoder.encode(points)
    moves = generate.descend(make, points, maker.architecture, train, config, generator=g)
    return make(deque(moves, maxlen=1).pop()).detach(), maker


def judge(here: Setting, w: Float[Tensor, " n params"]) -> Row:
    """Accuracy of some networks on the target, and how much they differ from each other."""
    network, n = here.maker.architecture, here.config.n_eval
    test, val = here.splits.test.first(n), here.splits.val.first(n)
    said = predict(network, w, test.images)
    found = (said == test.labels).float().mean(1)
    row = {"n": len(w), "accuracy": float(found.mean())}
    row["val"] = float(accuracies(network, w, *val).mean())
    if len(w) == 1:
        return row | dict.fromkeys(("sd", "apart", "differ"))
    pairs = torch.combinations(torch.arange(len(w))).T
    row |= {"sd": float(found.std()), "apart": float(torch.pdist(w).mean())}
    return row | {"differ": float((said[pairs[0]] != said[pairs[1]]).float().mean())}


def early(here: Setting, maker: Maker) -> float:
    """The loss of flow matching to the base's codes before t', over many draws."""
    with torch.no_grad():
        many = here.codes.repeat(20, 1)
        g = stream(here.seed, "through", "early")
        return float(generate.source_loss(maker, many, here.config.through, g))


def of_way(
    settings: Sequence[Setting], way: str, plan: tuple[int, int], flops: int
) -> list[Row]:
    """A row of every setting; the learning rate is the first one's best on validation images."""
    rows: list[Row] = []
    for here in settings:
        tried = []
        for lr in [rows[0]["lr"]] if rows else LRS[way]:
            w, maker = run(here, way, lr, plan)
            row = {"way": way, "seed": here.seed, "lr": lr, "lrs": [*LRS[way]]}
            row["updates"] = plan[1]
            row |= {"flops": flops * plan[1] * (1 if way in THROUGHS else plan[0])}
            row["early"] = early(here, maker) if way in THROUGHS else None
            tried.append(row | judge(here, w))
        rows.append(max(tried, key=lambda row: row["val"]))
    return rows


def compare(
    settings: Sequence[Setting],
    names: Sequence[str] = tuple(LRS),
    *,
    progress: Progress = silent,
) -> list[Row]:
    """The samples before, and every way of changing them, over settings that differ in the seed."""
    first, rows = settings[0], []
    about = (first.maker, first.codes, first.splits.train, first.config.through)
    count = operations(*about)
    for here in settings:
        row = {"way": BEFORE, "seed": here.seed, "early": early(here, here.maker)}
        rows.append(row | judge(here, here.sampled(here.maker)))
    plans = ways(first, count)
    for way in progress(names, total=len(names), desc="ways"):
        rows += of_way(settings, way, plans[way], count[way])
    return rows


def reach(here: Setting, goal: float, *, lr: float, most: int = 300) -> int | None:
    """Steps of plain training until eight samples have that accuracy on validation images.

    None: they do not in so many steps.
    """
    config = replace(here.config.through, lr=lr, updates=most)
    network, g = here.maker.architecture, stream(here.seed, "through", "reach")
    val, w = here.splits.val.first(here.config.n_eval), here.sampled(here.maker)[:8]
    moves = generate.descend(_same, w, network, here.splits.train, config, generator=g)
    for step, now in enumerate(moves):
        if step % 5 == 0 and accuracies(network, now, *val).mean() >= goal:
            return step
    return None


def by_stop(here: Setting, lr: float, *, progress: Progress = silent) -> list[Row]:
    """For every t' what an update costs, and what the networks are worth at the end."""
    config = here.config.through
    rows = costs(here.maker, here.splits.train, config)
    for row in progress(rows, total=len(rows), desc="t'"):
        through = replace(config, detach=row["stop"])
        at = replace(here, config=replace(here.config, through=through))
        row |= judge(at, run(at, THROUGH, lr, (here.config.n, config.updates))[0])
    return rows


def study(
    base: str,
    target: str,
    config: StudyConfig,
    *,
    stops: bool = False,
    root: Path | str | None = None,
    progress: Progress = silent,
) -> dict[str, object]:
    """Table 4 of FLoWN for one base zoo and one target, and the controls that it lacks.

    Args:
        base: a zoo that comes with the package, by name, or one in a store, by path.
        stops: also what every t' costs and gives, in codes of rows.

    Raises:
        DataMissingError: no such store, or images are not there.
        ConfigError: an unknown target, or one with another number of classes.
    """
    zoo = zoo_store.find_zoo(base)
    splits = images_for(zoo, target, root=root)
    known = generators.images_of(zoo, config.n_eval, root=root)
    originals = generators.originals_of(zoo, known, generator=stream(0, "split"))
    facts = {"base": zoo.dataset, "target": target, "network": zoo.architecture.name}
    facts |= {"train": len(originals.train), "images": len(splits.train.labels)}
    rows: list[Row] = []
    for kind, names in {ROWS: tuple(LRS), READS: (THROUGH, SHARED)}.items():
        settings = settings_of(originals, kind, splits, config)
        found = compare(settings, names, progress=progress)
        rows += [{"encoder": kind, **row} for row in found]
        if kind == ROWS:
            facts |= at_home(settings[0], originals) | breaks_even(settings[0], found)
            lr = next(r["lr"] for r in found if r["way"] == THROUGH)
            more = by_stop(settings[0], lr, progress=progress) if stops else []
    return {"facts": facts, "rows": rows, "stops": more}


def at_home(here: Setting, originals: Originals) -> Row:
    """Accuracy on the base's own test images: of its networks, and of samples before tuning."""
    rows = {"originals": originals.train, "samples": here.sampled(here.maker)}
    network = originals.architecture
    return {
        f"{k}_at_home": float(accuracies(network, w, *originals.test).mean())
        for k, w in rows.items()
    }


def breaks_even(here: Setting, rows: Sequence[Row]) -> Row:
    """Steps of plain training to the fine-tuned generator's accuracy, and for how many networks.

    From `networks` networks on, generating them costs less than training each from its sample.
    """
    of_seed = {r["way"]: r for r in rows if r["seed"] == here.seed}
    tuned, plain = of_seed[THROUGH], of_seed[SHARED]
    steps = reach(here, tuned["val"], lr=plain["lr"])
    each = plain["flops"] / plain["updates"] / plain["n"]
    networks = tuned["flops"] / (max(1, steps) * each) if steps is not None else None
    return {"reach_steps": steps, "networks": networks}


def _same(w: Tensor) -> Tensor:
    return w
