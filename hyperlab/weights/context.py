"""The vector of a support set, which a generator is conditioned on.

Class means of frozen features, or these read by a small transformer of CAML's kind that is trained
on random sets of labelled images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from .. import checkpoint
from ..base import PRETRAINED, ConfigError, Progress, choose, silent, stream
from ..checkpoint import Checkpoint
from ..models import belonging, targets
from ..models.targets import Target, prototypes
from ..nn import MLP, Attention, Descent, fit, lent
from ..tasks.domains import Domain
from ..tasks.episodes import LabelledImages

KIND = "set encoder"
SHIPPED = PRETRAINED / "context.safetensors"
LABELS = "label vectors"  # the name of their random stream
CHUNK = 500  # images of a pass through the frozen encoder
MOST = 4_000  # images of a domain that the set encoder is trained on
Pool = tuple[Float[Tensor, " n dim"], Int64[Tensor, " n"]]  # features of a domain, classes
Vector = Float[Tensor, " c"]


def elmes(n: int, dim: int, generator: torch.Generator) -> Float[Tensor, " n dim"]:
    """Label vectors of length 1, all as far from each other as can be.

    (U M)^T with M = sqrt(C / (C - 1)) (I - 11^T / C) and U of orthonormal columns: every inner
    product of two is -1 / (C - 1), and their sum is 0.

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
        sizes = (self.depth, self.n_heads, self.hidden, self.steps, self.batch, self.n_shot)
        if min(sizes) < 1:
            raise ConfigError(f"depth, n_heads, hidden, steps, batch, n_shot >= 1: {self}")

    @classmethod
    def at(cls, scale: str) -> "SetConfig":
        """Presets; "paper" is the largest, CAML has 24 layers on CLIP."""
        smoke = cls(steps=20, batch=2, n_shot=2)
        return choose({"smoke": smoke, "laptop": cls(), "paper": cls(steps=30_000)}, scale)


class SetLayer(nn.Module):
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
        self.layers = nn.ModuleList(
            SetLayer(self.width, config) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(self.width)
        self.head = nn.Linear(self.width, config.n_classes, bias=False)

    def forward(
        self,
        features: Float[Tensor, " batch n dim"],
        labels: Int64[Tensor, " batch n"],
        queries: Float[Tensor, " batch m dim"],
    ) -> Float[Tensor, " batch m width"]:
        """The output token of every query."""
        features, queries = (F.layer_norm(x, (self.dim,)) for x in (features, queries))
        known = torch.cat([features, self.size * self.vectors[labels]], 2)
        asked = torch.cat([queries, self.unknown.expand(*queries.shape[:2], -1)], 2)
        for layer in self.layers:
            known, asked = layer(known, known), layer(asked, known)
        return self.norm(asked)

    def logits(
        self,
        features: Float[Tensor, " batch n dim"],
        labels: Int64[Tensor, " batch n"],
        queries: Float[Tensor, " batch m dim"],
    ) -> Float[Tensor, " batch m classes"]:
        """What every query is taken for; classes that the set lacks are never named."""
        logits = self.head(self(features, labels, queries))
        absent = torch.arange(logits.shape[2], device=logits.device) > labels.max()
        return logits.masked_fill(absent, float("-inf"))


def draw_sets(
    pools: Sequence[Pool], sizes: tuple[int, int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sets of one random domain each: features, labels, and a query of every class.

    Args:
        sizes: sets, classes of a set, images of a class.
    """
    n_sets, n_way, n_shot = sizes
    members = [_members(pool, n_shot + 1) for pool in pools]
    usable = [i for i, classes in enumerate(members) if len(classes) >= n_way]
    if not usable:
        most = max(map(len, members), default=0)
        raise ConfigError(
            f"want a domain of {n_way} classes with {n_shot + 1} images each; have {most}"
        )
    known, asked = [], []
    for _ in range(n_sets):
        k = usable[int(torch.randint(len(usable), (), generator=generator))]
        for i in torch.randperm(len(members[k]), generator=generator)[:n_way].tolist():
            order = torch.randperm(len(members[k][i]), generator=generator)[: n_shot + 1]
            rows = pools[k][0][members[k][i][order]]
            known.append(rows[:-1])
            asked.append(rows[-1:])
    classes = torch.arange(n_way, device=pools[0][0].device)
    labels = classes.repeat_interleave(n_shot).repeat(n_sets, 1)
    known, asked = (torch.cat(part).unflatten(0, (n_sets, -1)) for part in (known, asked))
    return known, labels, asked


def _members(pool: Pool, least: int) -> list[Tensor]:
    """The rows of every class that has so many."""
    order = pool[1].argsort(stable=True).split(pool[1].bincount().tolist())
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
    """The set encoder in half precision, with its target; `about`: where it comes from."""
    spec = {"config": asdict(net.config), "dim": net.dim, "target": net.target}
    state = {name: x.half() for name, x in net.state_dict().items()}
    checkpoint.save(path, KIND, state, spec, about)


def load(path: Path | str) -> SetEncoder:
    """A set encoder from such a file, in single precision."""

    def make(file: Checkpoint) -> SetEncoder:
        net = SetEncoder(file.spec["dim"], SetConfig(**file.spec["config"]))
        net.load_state_dict(file.tensors)
        net.target = file.spec["target"]
        return net.eval().requires_grad_(requires_grad=False)

    return checkpoint.load(path, KIND, make, "run: python data_scripts/train_context.py")


class ContextEncoder:
    """Labelled images -> one vector, in two parts: `read` may be kept, `embed` is cheap.

    The order of the images changes nothing; the order of the classes does.
    """

    def __call__(self, support: LabelledImages) -> Vector:
        """The vector of a support set, which must be sound: see `LabelledImages.require`."""
        support.require()
        return self.embed(self.read(support.images), support.labels, support.n_way)

    def read(self, images: Float[Tensor, " n 3 h w"]) -> Float[Tensor, " n dim"]:
        """What is known of each image (in [0, 1]) by itself."""
        raise NotImplementedError

    def embed(
        self, features: Float[Tensor, " n dim"], labels: Int64[Tensor, " n"], n_classes: int
    ) -> Vector:
        """The vector of a set of images that were read."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class MeanFeatures(ContextEncoder):
    """The mean feature of every class, concatenated in the order of the labels."""

    target: Target

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        theta, parts = self.target.theta0, images.split(CHUNK)
        features = torch.cat([self.target.features(theta, part) for part in parts])
        return F.layer_norm(features, features.shape[1:])

    def embed(self, features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        require_every_class(labels, n_classes)
        return prototypes(features, labels, n_classes).flatten()


@dataclass(frozen=True, eq=False)
class Caml(MeanFeatures):
    """The set encoder's output tokens, averaged per class, in the order of the labels.

    Every image of the set is asked once, its label unknown. (FLoWN asks one image of every class,
    drawn at random: then the vector depends on the draw.)

    Source: FLoWN, arXiv:2503.19371, section A.4.2.
    """

    net: SetEncoder

    def __post_init__(self) -> None:
        belonging.require(self.target, self.net.target, "this set encoder")

    @torch.no_grad()
    def embed(self, features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        require_every_class(labels, n_classes)
        if n_classes > (most := self.net.config.n_classes):
            raise ConfigError(
                f"this set encoder knows up to {most} classes, got {n_classes}; train one for "
                "more: python data_scripts/train_context.py --n-classes"
            )
        tokens = self.net(features[None], labels[None], features[None])[0]
        return prototypes(tokens, labels, n_classes).flatten()


@dataclass(frozen=True)
class DatasetId(ContextEncoder):
    """A one-hot number of the data set: no image is looked at, somebody has to know it."""

    index: int
    n: int  # data sets

    def __post_init__(self) -> None:
        if self.n < 2 or not 0 <= self.index < self.n:
            raise ConfigError(
                f"want one of two or more data sets 0 to {self.n - 1}: {self.index}; the number "
                "of the only one tells nothing"
            )

    def read(self, images: Tensor) -> Tensor:
        return images.new_zeros(len(images), 0)

    def embed(self, features: Tensor, labels: Tensor, n_classes: int) -> Tensor:
        require_every_class(labels, n_classes)
        return F.one_hot(torch.tensor(self.index), self.n).float()


@cache
def shipped() -> Caml:
    """The context encoder that comes with the package: `vit_micro` and ten classes at most."""
    return Caml(targets.load(), load(SHIPPED))


# Kind -> the encoder for data set i of n.
KINDS = MappingProxyType[str, Callable[[int, int], ContextEncoder]](
    {
        "caml": lambda _i, _n: shipped(),
        "means": lambda _i, _n: MeanFeatures(shipped().target),
        "one-hot": DatasetId,
    }
)


def require_every_class(labels: Int64[Tensor, " n"], n_classes: int) -> None:
    """Raise ConfigError, naming classes without images and labels that are no class."""
    present, classes = set(labels.tolist()), set(range(n_classes))
    if present != classes:
        raise ConfigError(
            f"a support set of {n_classes} classes has labels 0 to {n_classes - 1}, each at "
            f"least once; lacking: {sorted(classes - present)}, "
            f"foreign: {sorted(present - classes)}"
        )


def draw_support(
    pool: LabelledImages, n_shot: int, generator: torch.Generator
) -> LabelledImages:
    """A random support set of the pool."""
    rows = draw_rows(pool.labels, pool.n_way, n_shot, generator)
    return replace(pool, images=pool.images[rows], labels=pool.labels[rows])


def draw_rows(
    labels: Int64[Tensor, " n"], n_classes: int, n_shot: int, generator: torch.Generator
) -> Int64[Tensor, " rows"]:
    """Rows of random images, `n_shot` of every class, or all where there are fewer."""
    require_every_class(labels, n_classes)
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == c][:n_shot] for c in range(n_classes)])


def draw_contexts(
    encoder: ContextEncoder,
    pool: LabelledImages,
    n: int,
    *,
    n_shot: int,
    generator: torch.Generator,
) -> Float[Tensor, " n c"]:
    """The vectors of `n` random support sets; every image of the pool is read once."""
    pool.require()
    features, contexts = encoder.read(pool.images), []
    for _ in range(n):
        rows = draw_rows(pool.labels, pool.n_way, n_shot, generator)
        contexts.append(encoder.embed(features[rows], pool.labels[rows], pool.n_way))
    return torch.stack(contexts)


def pool_of(encoder: ContextEncoder, domain: Domain, *, most: int = MOST) -> Pool:
    """Features and labels of a domain's first classes, up to so many images."""
    rows = torch.cat(domain.members)[:most]
    parts = [encoder.read(domain.batch(part)) for part in rows.split(CHUNK)]
    return torch.cat(parts), domain.labels[rows]
