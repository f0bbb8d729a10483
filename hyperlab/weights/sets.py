"""A labelled set of images as tokens, and a small transformer that reads them (CAML's kind)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from .. import checkpoint
from ..base import ConfigError, Progress, choose, silent, stream
from ..checkpoint import Checkpoint
from ..nn import MLP, Attention, Descent, fit, lent

KIND = "set encoder"
LABELS = "label vectors"  # the name of their random stream


def elmes(n: int, dim: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
    """Label vectors of length 1, all as far from each other as can be.

    (U M)^T with M = sqrt(C / (C - 1)) (I - 11^T / C) and U of orthonormal columns: every inner
    product of two is -1 / (C - 1), and their sum is 0.

    Raises:
        ConfigError: fewer than two labels, or more than dimensions.

    Source: Fifty et al. 2024 (CAML, arXiv:2310.10971), section 4.
    """
    if not 2 <= n <= dim:
        raise ConfigError(f"want 2 to {dim} label vectors of {dim} numbers, got {n}")
    basis, _ = torch.linalg.qr(torch.randn(dim, n, generator=generator))
    centred = torch.eye(n) - torch.full((n, n), 1 / n)
    return (n / (n - 1)) ** 0.5 * (basis @ centred).T


@dataclass(frozen=True, kw_only=True)
class SetConfig:
    """How the set encoder is built and trained."""

    n_classes: int = 10  # most classes of a set
    label: int = 32  # numbers of a label vector, beside those of a feature
    depth: int = 2  # layers
    n_heads: int = 4
    hidden: int = 192  # width of the layers' MLPs
    steps: int = 3_000  # gradient steps of AdamW
    batch: int = 8  # sets a step, all of as many classes and images
    n_shot: int = 5  # most images of a class in a set
    lr: float = 1e-3  # peak, cosine

    def __post_init__(self) -> None:
        if min(self.depth, self.n_heads, self.hidden, self.steps, self.batch) < 1:
            raise ConfigError(f"depth, n_heads, hidden, steps and batch >= 1: {self}")
        if self.n_shot < 1:
            raise ConfigError(f"want one or more images of a class, got {self.n_shot=}")

    @classmethod
    def at(cls, scale: str) -> "SetConfig":
        """Presets; "paper" is the largest, CAML has 24 layers on CLIP."""
        smoke = cls(steps=20, batch=2, n_shot=2)
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls(steps=30_000)}, scale)


class Layer(nn.Module):
    """x <- x + attention(norm x, norm set); x <- x + MLP(norm x)."""

    def __init__(self, width: int, config: SetConfig) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, config.n_heads)
        self.mlp = MLP(width, config.hidden, width)

    def forward(
        self, x: Float[Tensor, " batch n width"], over: Float[Tensor, " batch m width"]
    ) -> Float[Tensor, " batch n width"]:
        x = x + self.attention(self.before(x), self.before(over))
        return x + self.mlp(self.between(x))


class SetEncoder(nn.Module):
    """Tokens are a feature beside a label vector; a query has the learned unknown vector instead.

    Layer by layer the set reads itself and every query reads the set. Deviation: the set does not
    read the query, so that all queries of a set share one pass.

    `target` names the backbone of its features, as `models.belonging.described` does; "": unknown.

    Args:
        dim: numbers of a feature.

    Source: Fifty et al. 2024 (CAML, arXiv:2310.10971), section 3.
    """

    target: str = ""

    def __init__(self, dim: int, config: SetConfig) -> None:
        super().__init__()
        self.dim, self.config, self.width = dim, config, dim + config.label
        vectors = elmes(config.n_classes, config.label, stream(0, LABELS))
        self.register_buffer("vectors", vectors, persistent=False)
        self.size = nn.Parameter(torch.tensor(config.label**0.5))  # of all label vectors
        self.unknown = nn.Parameter(torch.zeros(config.label))
        self.layers = nn.ModuleList(Layer(self.width, config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(self.width)
        self.head = nn.Linear(self.width, config.n_classes, bias=False)

    def forward(
        self,
        features: Float[Tensor, " batch n dim"],
        labels: Int64[Tensor, " batch n"],
        queries: Float[Tensor, " batch m dim"],
    ) -> Float[Tensor, " batch m width"]:
        """The output token of every query."""
        known = torch.cat([self._plain(features), self.size * self.vectors[labels]], 2)
        asked = self.unknown.expand(*queries.shape[:2], -1)
        asked = torch.cat([self._plain(queries), asked], 2)
        for layer in self.layers:
            known, asked = layer(known, known), layer(asked, known)
        return self.norm(asked)

    def _plain(self, features: Tensor) -> Tensor:
        """Features of mean 0 and deviation 1, each by itself."""
        return F.layer_norm(features, (self.dim,))

    def logits(
        self,
        features: Float[Tensor, " batch n dim"],
        labels: Int64[Tensor, " batch n"],
        queries: Float[Tensor, " batch m dim"],
    ) -> Float[Tensor, " batch m classes"]:
        """What every query is taken for; classes that the set lacks are never named."""
        said = self.head(self(features, labels, queries))
        absent = torch.arange(said.shape[2], device=said.device) > labels.max()
        return said.masked_fill(absent, float("-inf"))


Pool = tuple[
    Float[Tensor, " n dim"], Int64[Tensor, " n"]
]  # features of a domain, and classes


def draw_sets(
    pools: Sequence[Pool],
    sizes: tuple[int, int, int],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Some sets of one random domain each: features, labels, and a query of every class.

    Args:
        sizes: sets, classes of a set, images of a class.

    Raises:
        ConfigError: no domain has so many classes of so many images and one more.
    """
    n_sets, n_way, n_shot = sizes
    found = [_members(pool, n_shot + 1) for pool in pools]
    usable = [i for i, members in enumerate(found) if len(members) >= n_way]
    if not usable:
        most = max(map(len, found), default=0)
        raise ConfigError(
            f"want a domain of {n_way} classes with {n_shot + 1} images each; have {most}"
        )
    known, asked = [], []
    for _ in range(n_sets):
        k = usable[int(torch.randint(len(usable), (), generator=generator))]
        for i in torch.randperm(len(found[k]), generator=generator)[:n_way].tolist():
            members = found[k][i]
            order = torch.randperm(len(members), generator=generator)[: n_shot + 1]
            rows = pools[k][0][members[order]]
            known.append(rows[:-1])
            asked.append(rows[-1:])
    here = torch.arange(n_way, device=pools[0][0].device)
    labels = here.repeat_interleave(n_shot).repeat(n_sets, 1)
    parts = (torch.cat(part).unflatten(0, (n_sets, -1)) for part in (known, asked))
    return next(parts), labels, next(parts)


def _members(pool: Pool, least: int) -> list[Int64[Tensor, " some"]]:
    """The rows of every class that has so many."""
    counts = pool[1].bincount()
    order = pool[1].argsort(stable=True).split(counts.tolist())
    return [rows for rows in order if len(rows) >= least]


def fit_sets(
    pools: Sequence[Pool],
    config: SetConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> SetEncoder:
    """Train on random sets, of 2 to C classes: name the class of a query that the set lacks.

    It is trained on the device and in the precision of the first pool's features.

    Raises:
        ConfigError: no domain has C classes of n_shot + 1 images.
    """
    draw_sets(pools, (1, config.n_classes, config.n_shot), stream(0, "try"))
    with lent(generator):
        net = SetEncoder(pools[0][0].shape[1], config).to(pools[0][0])

    def loss() -> Tensor:
        n_way = int(torch.randint(2, config.n_classes + 1, (), generator=generator))
        n_shot = int(torch.randint(1, config.n_shot + 1, (), generator=generator))
        drawn = draw_sets(pools, (config.batch, n_way, n_shot), generator)
        asked = torch.arange(n_way, device=drawn[1].device).repeat(config.batch)
        return F.cross_entropy(net.logits(*drawn).flatten(0, 1), asked)

    descent = Descent(steps=config.steps, lr=config.lr, warmup=100, weight_decay=1e-2)
    fit(net, loss, descent, desc="set encoder", progress=progress)
    return net.requires_grad_(requires_grad=False)


@torch.no_grad()
def right_share(
    net: SetEncoder,
    pools: Sequence[Pool],
    *,
    n_sets: int,
    n_shot: int,
    generator: torch.Generator,
) -> float:
    """The share of queries that are named rightly in sets of as many classes as there can be."""
    way = net.config.n_classes
    sets = draw_sets(pools, (n_sets, way, n_shot), generator)
    asked = torch.arange(way, device=sets[1].device)
    return float((net.logits(*sets).argmax(2) == asked).float().mean())


def save(net: SetEncoder, path: Path | str, about: Mapping[str, str]) -> None:
    """The network in half precision, with its target; `about`: how it was made."""
    spec = {"config": asdict(net.config), "dim": net.dim, "target": net.target}
    state = {name: x.half() for name, x in net.state_dict().items()}
    checkpoint.save(path, KIND, state, spec, about)


def load(path: Path | str) -> SetEncoder:
    """A set encoder from such a file, in single precision.

    Raises:
        DataMissingError: no such file.
        ArtifactError: it is damaged, or no set encoder.
    """
    return checkpoint.load(path, KIND, _made, "run: python data_scripts/train_context.py")


def _made(found: Checkpoint) -> SetEncoder:
    net = SetEncoder(found.spec["dim"], SetConfig(**found.spec["config"]))
    net.load_state_dict(found.tensors)
    net.target = found.spec["target"]
    return net.eval().requires_grad_(requires_grad=False)
