"""A generator of networks fine-tuned on a new data set, and what else the same compute buys."""

import copy
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import floor

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import choose, distinct, stream
from ..weights import encoders, flow, generate
from ..weights.encoders import EncoderConfig
from ..weights.flow import FlowConfig
from ..weights.generate import Maker, ThroughConfig
from ..weights.novelty import Originals
from ..weights.recipes import Images, Splits
from ..weights.zoo import accuracies, predict
from . import cost, timing
from .ceilings import EncodersConfig, fits
from .tables import Row, over_seeds

ROWS = "VAE"  # the encoder of whole rows
THROUGH, ANCHORED = "through the ODE", "through the ODE, anchored"
SHARED, SINGLE = "plain training, shared", "plain training, one network"
FRESH, CODES = "plain training, untrained", "codes alone"
THROUGHS = (THROUGH, ANCHORED)
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


def encoder_of(originals: Originals, kind: str, config: StudyConfig) -> encoders.Encoder:
    """The encoder of that kind, ROWS or READS, fitted to the training networks."""
    ways = fits(originals, EncodersConfig(vae=config.vae, graph=config.graph))
    return choose(ways, kind)(stream(0, "through", "encoder", kind))


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
    tuned = learning(maker)
    batch, g = data.first(config.batch), stream(0, "count")
    x0, field = tuned.start(config.networks, g), list(tuned.flow.field.parameters())
    with torch.no_grad():
        row = tuned.networks(x0[:1], config)
    once = replace(config, updates=1)

    def adam(make: Callable[[Tensor], Tensor], points: Tensor) -> Callable[[], object]:
        network = tuned.architecture
        moves = generate.descend(make, points, network, batch, once, generator=g)
        return lambda: deque(moves, maxlen=0)

    calls = {
        THROUGH: lambda: generate.gradient(tuned, x0, batch, config),
        "anchor": lambda: torch.autograd.grad(
            generate.source_loss(tuned, codes, config, g), field
        ),
        SHARED: adam(same, row),
        CODES: adam(tuned.encoder.decode, tuned.encoder.encode(row)),
    }
    found = {name: cost.count(call, tuned.flow).flops for name, call in calls.items()}
    found[ANCHORED] = found[THROUGH] + found.pop("anchor")
    return found | dict.fromkeys((SINGLE, FRESH), found[SHARED])


def learning(maker: Maker) -> Maker:
    """A copy of the maker whose field takes gradients."""
    tuned = replace(maker, flow=copy.deepcopy(maker.flow))
    tuned.flow.field.requires_grad_()
    return tuned


def costs(
    maker: Maker, data: Images, config: ThroughConfig, stops: Sequence[float] = STOPS
) -> list[Row]:
    """What one update needs for every t': operations, memory and seconds; its gradient's norm."""
    tuned = learning(maker)
    batch, x0 = data.first(config.batch), tuned.start(config.networks, stream(0, "count"))
    rows = []
    for stop in stops:
        at = replace(config, detach=stop)
        call = partial(generate.gradient, tuned, x0, batch, at)
        found = cost.count(call, tuned.flow)
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


def ways(setting: Setting, count: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Way -> networks that it moves at once, and updates: no more operations than THROUGH has."""
    n, total = setting.config.n, setting.config.through.updates * count[THROUGH]
    shares = {THROUGH: 1, ANCHORED: 1, SHARED: n, CODES: n, SINGLE: 1, FRESH: 1}
    moved = shares | dict.fromkeys(THROUGHS, n)
    return {
        way: (moved[way], max(1, floor(total / share / count[way])))
        for way, share in shares.items()
    }


def judge(setting: Setting, w: Float[Tensor, " n params"]) -> Row:
    """Accuracy of some networks on the target, and how much they differ from each other."""
    network, n = setting.maker.architecture, setting.config.n_eval
    test, val = setting.splits.test.first(n), setting.splits.val.first(n)
    predicted = predict(network, w, test.images)
    found = (predicted == test.labels).float().mean(1)
    row = {"n": len(w), "accuracy": float(found.mean())}
    row["val"] = float(accuracies(network, w, *val).mean())
    if len(w) == 1:
        return row | dict.fromkeys(("sd", "apart", "differ"))
    pairs = torch.combinations(torch.arange(len(w))).T
    row |= {"sd": float(found.std()), "apart": float(torch.pdist(w).mean())}
    return row | {
        "differ": float((predicted[pairs[0]] != predicted[pairs[1]]).float().mean())
    }


def early(setting: Setting, maker: Maker) -> float:
    """The loss of flow matching to the base's codes before t', over many draws."""
    with torch.no_grad():
        many = setting.codes.repeat(20, 1)
        g = stream(setting.seed, "through", "early")
        return float(generate.source_loss(maker, many, setting.config.through, g))


def means(rows: Sequence[Row]) -> list[Row]:
    """Means over the seeds of every way, operations in those of fine-tuning through the ODE."""
    found = over_seeds(rows, "encoder", "way")
    units = {row["encoder"]: row["flops"] for row in found if row["way"] == THROUGH}
    return [
        row | {"operations": row.get("flops", 0) / units[row["encoder"]]} for row in found
    ]


def same(w: Tensor) -> Tensor:
    """Networks as they are: what is trained where no code is."""
    return w
