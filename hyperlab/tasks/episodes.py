"""Few-shot episodes: fixed n-way k-shot, and Meta-Dataset's variable way and shot."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperlab.base import ConfigError, choose, stream

from .domains import Domain
from .parts import ClassGraph

Style = Callable[[Tensor], Tensor]  # images -> images, one change for a whole episode
Draw = Callable[..., "Episode"]  # draw(domain, generator=g) -> Episode
TRIES = 1000  # draws of one episode before a lower bound on its size counts as infeasible


def require_images(images: Tensor, what: str = "query") -> None:
    """An error unless these are images in [0, 1], for a backbone; one pass over them."""
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3 or 0 in shape or not images.is_floating_point():
        raise ConfigError(
            f"{what} images are {images.dtype} {shape}; want floating numbers in [0, 1], "
            "n x 3 x height x width; of bytes: images.float() / 255"
        )
    if images.is_meta:  # no numbers: operations are counted
        return
    low, high = (float(x) for x in images.detach().aminmax())  # NaN where there is one
    if 0 <= low <= high <= 1:
        return
    if broken := int((~images.isfinite()).sum()):
        rows = int((~images.isfinite().flatten(1).all(1)).sum())
        raise ConfigError(
            f"{rows} of {len(images)} {what} images hold NaN or infinity, {broken} numbers in "
            "all; numbers must lie in [0, 1]"
        )
    remedy = (
        "divide them by 255" if 1 < high <= 255 and low >= 0 else "undo a normalisation"
    )
    raise ConfigError(
        f"{what} images run from {low:g} to {high:g}; want numbers in [0, 1]: {remedy}"
    )


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images in [0, 1] and, for each, the number of its class within the episode."""

    images: Float[Tensor, " n 3 h w"]
    labels: Int[Tensor, " n"]
    n_way: int

    def require(self, what: str = "support", *, every_class: bool = True) -> None:
        """The one check of a support or query set; every method calls it before any work.

        Args:
            what: the set's name in the message.
            every_class: each of two or more classes has an image; False for queries.

        Raises:
            ConfigError: images of another shape, type or range, numbers that are not finite, a
                label that is no class, or a class without an image.
        """
        require_images(self.images, what)
        labels, n = self.labels, self.n_way
        whole = not (labels.is_floating_point() or labels.is_complex())
        if not whole or labels.dtype == torch.bool or labels.shape != self.images.shape[:1]:
            raise ConfigError(
                f"{what} labels are {labels.dtype} {list(labels.shape)}; want an integer for "
                f"each of {len(self.images)} images"
            )
        found = set(labels.tolist())
        if foreign := sorted(found - set(range(n))):
            raise ConfigError(
                f"{what} labels of {n} classes run from 0 to {n - 1}; foreign: {foreign[:8]}"
            )
        if not every_class:
            return
        if n < 2:
            raise ConfigError(f"a {what} set wants two classes or more, got {n}")
        if lacking := sorted(set(range(n)) - found):
            counts = labels.bincount(minlength=n).tolist()
            raise ConfigError(
                f"{what} labels must use each of 0 ... {n - 1}, got {counts} images a class, "
                f"lacking: {lacking}; add images, or number the classes that are there from 0"
            )

    @property
    def rank(self) -> Int[Tensor, " n"]:
        """How many images of the same class stand before each image."""
        return (self.labels[:, None] == self.labels).tril(-1).sum(1)

    def at_most(self, n: int) -> "LabelledImages":
        """The first images of every class, `n` in all, as even over the classes as they allow."""
        if n < self.n_way:
            raise ConfigError(f"{self.n_way} classes need an image each, got n = {n}")
        first = (self.rank * self.n_way + self.labels).argsort()[:n].sort().values
        return replace(self, images=self.images[first], labels=self.labels[first])


@dataclass(frozen=True, eq=False)
class Episode:
    """One few-shot task: learn from `support`, be judged on `query`."""

    support: LabelledImages
    query: LabelledImages
    domain: str
    classes: tuple[str, ...]  # names, in the order of the labels

    def require(self) -> None:
        """The check of both sets, see `LabelledImages.require`."""
        self.support.require()
        self.query.require("query", every_class=False)
        if (ways := (self.support.n_way, self.query.n_way)) != ways[::-1]:
            raise ConfigError(f"support and query want the same classes, got {ways}")


@dataclass(frozen=True, kw_only=True)
class MetaDatasetRules:
    """The bounds of Meta-Dataset's variable episodes; the defaults are the official ones.

    Source: Triantafillou et al. 2020, arXiv:1903.03096, section 3.2; the defaults of
    `meta_dataset/learn/gin/setups/data_config_common.gin`.
    """

    min_ways: int = 5  # classes
    max_ways: int = 50  # classes
    max_num_query: int = 10  # query images per class
    max_support_set_size: int = 500  # support images in all
    max_support_size_contrib_per_class: int = 100  # a class's share of it at most
    min_log_weight: float = math.log(0.5)  # classes get uneven shares, exp(weight)
    max_log_weight: float = math.log(2.0)
    min_support_set_size: int = 0  # support images in all; not in Meta-Dataset, see below

    def __post_init__(self) -> None:
        if not 1 <= self.min_ways <= self.max_ways:
            raise ConfigError(f"ways must be 1 <= min <= max, got {self}")
        if self.max_support_set_size < max(self.max_ways, self.min_support_set_size):
            raise ConfigError(
                f"max_support_set_size={self.max_support_set_size} is below "
                f"max_ways={self.max_ways} or {self.min_support_set_size=}"
            )
        if self.max_num_query < 1 or self.max_support_size_contrib_per_class < 1:
            raise ConfigError(f"a class needs a query and a support image, got {self}")
        if self.min_log_weight > self.max_log_weight:
            raise ConfigError(f"log weights must be min <= max, got {self}")

    @classmethod
    def at(cls, scale: str) -> "MetaDatasetRules":
        smoke = cls(max_ways=8, max_num_query=5, max_support_set_size=60)
        laptop = cls(max_ways=20, max_support_set_size=250)
        return choose({"smoke": smoke, "laptop": laptop, "paper": cls()}, scale)


OFFICIAL_RULES = MetaDatasetRules()

# The course's episodes: 50 to 250 support images.
COURSE_RULES = replace(MetaDatasetRules.at("laptop"), min_support_set_size=50)

# CDFSL: draw=functools.partial(sample, **CDFSL[20]), 600 episodes.
# Source: Guo et al. 2020, arXiv:1912.07200, section 4.2.
CDFSL: Mapping[int, Mapping[str, int]] = MappingProxyType(
    {n_shot: {"n_way": 5, "n_shot": n_shot, "n_query": 15} for n_shot in (5, 20, 50)}
)
CDFSL_EPISODES = 600


def sample(
    domain: Domain,
    *,
    n_way: int = 5,
    n_shot: int = 5,
    n_query: int = 15,
    style: Style | None = None,
    generator: torch.Generator,
) -> Episode:
    """One episode of `n_way` classes with `n_shot` support and `n_query` query images each.

    Raises:
        ConfigError: too few classes, or a class of the domain with too few images, drawn or
            not: the same request fails always or never.
    """
    if min(n_way, n_shot, n_query) < 1:
        raise ConfigError(f"n_way, n_shot, n_query start at 1: {n_way, n_shot, n_query}")
    if domain.n_classes < n_way:
        raise ConfigError(f"{domain.name}: {domain.n_classes} classes, asked for {n_way}")
    _require_images(domain, n_shot + n_query, f"{n_shot} support + {n_query} query images")
    classes = torch.randperm(domain.n_classes, generator=generator)[:n_way]
    shots = torch.full((n_way,), n_shot)
    return _fill(domain, classes, shots, n_query, style=style, generator=generator)


def sample_variable(
    domain: Domain,
    rules: MetaDatasetRules = OFFICIAL_RULES,
    *,
    graph: ClassGraph | None = None,
    style: Style | None = None,
    generator: torch.Generator,
) -> Episode:
    """One episode whose way, shots and queries are drawn by Meta-Dataset's rules.

    Deviation: where `rules.min_support_set_size` > 0 the official distribution is
    conditioned on that many support images, by drawing again (for 50, about one in ten).

    Args:
        graph: choose the classes through this hierarchy, as for ILSVRC-2012; without it
            through `domain.graph` if there is one, else through `domain.groups` if there
            are any, as for Omniglot's alphabets.

    Raises:
        ConfigError: too few classes or images; the message names the class and the count.

    Source: Triantafillou et al. 2020, arXiv:1903.03096, section 3.2.
    """
    _require_images(domain, 2, "1 support + 1 query image")
    for _ in range(TRIES):
        classes = draw_classes(domain, rules, graph=graph, generator=generator)
        shots, n_query = draw_sizes(domain.counts[classes], rules, generator=generator)
        if shots.sum() >= rules.min_support_set_size:
            return _fill(domain, classes, shots, n_query, style=style, generator=generator)
    smallest = int(domain.counts.argmin())
    raise ConfigError(
        f"{domain.name}: none of {TRIES} draws held {rules.min_support_set_size} support "
        f"images; it has {domain.n_classes} classes, the smallest of them, "
        f"{domain.class_names[smallest]!r}, with {domain.counts[smallest]} images; "
        f"lower min_support_set_size or add images"
    )


def seeded(domain: Domain, n: int, *, seed: int, draw: Draw = sample) -> Iterator[Episode]:
    """`n` episodes; number i is the same whatever `n` and whatever was drawn before.

    Args:
        draw: `draw(domain, generator=g)`, e.g. `functools.partial(sample, n_shot=1)`.
    """
    for i in range(n):
        yield draw(domain, generator=stream(seed, "episodes", domain.name, i))


def draw_classes(
    domain: Domain,
    rules: MetaDatasetRules,
    *,
    graph: ClassGraph | None = None,
    generator: torch.Generator,
) -> Int[Tensor, " way"]:
    """Step 1: which classes. Uniform, or inside one group, or all below one node."""
    graph = graph or domain.graph
    if graph is not None:
        pool = _pick(graph.pools(domain.class_names, at_least=rules.min_ways), generator)
        n_way = min(len(pool), rules.max_ways)
    else:
        pool = _pick(_groups(domain, at_least=rules.min_ways), generator)
        n_way = draw_way(len(pool), rules, generator=generator)
    return torch.tensor(pool)[torch.randperm(len(pool), generator=generator)[:n_way]]


def draw_way(n_classes: int, rules: MetaDatasetRules, *, generator: torch.Generator) -> int:
    """How many classes: uniform between the rules' bounds, at most those there are."""
    most = min(n_classes, rules.max_ways)
    return int(torch.randint(rules.min_ways, most + 1, (), generator=generator))


def draw_sizes(
    counts: Int[Tensor, " way"], rules: MetaDatasetRules, *, generator: torch.Generator
) -> tuple[Int[Tensor, " way"], int]:
    """Steps 2 to 4: support images per class, and query images of every class.

    q = min(10, min_c floor(n_c / 2)),  r_c = n_c - q
    |S| = min(500, sum_c floor(beta min(100, r_c) + 1)),  beta ~ U[0, 1)
    R_c = n_c exp(alpha_c) / sum_j n_j exp(alpha_j),  alpha_c ~ U[ln 1/2, ln 2)
    k_c = min(floor(R_c (|S| - N)) + 1, r_c)

    Args:
        counts: images of each chosen class, n_c; at least 2.

    Source: Triantafillou et al. 2020, arXiv:1903.03096, section 3.2 (step 2).
    """
    n_query = min(rules.max_num_query, int(counts.min()) // 2)
    left = counts - n_query
    beta = torch.rand((), generator=generator, dtype=torch.float64)
    share = left.clamp(max=rules.max_support_size_contrib_per_class)
    size = min(rules.max_support_set_size, int((beta * share + 1).floor().sum()))
    spread = rules.max_log_weight - rules.min_log_weight
    uniform = torch.rand(len(counts), generator=generator, dtype=torch.float64)
    weights = counts * torch.exp(rules.min_log_weight + spread * uniform)
    shots = (weights / weights.sum() * (size - len(counts))).floor().long() + 1
    return torch.minimum(shots, left), n_query


def _groups(domain: Domain, *, at_least: int) -> list[list[int]]:
    # A group too small for an episode is left out; Meta-Dataset has none such.
    names = domain.groups or (0,) * domain.n_classes
    groups: dict[int | str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(name, []).append(number)
    large = [group for group in groups.values() if len(group) >= at_least]
    if not large:
        name, group = max(groups.items(), key=lambda item: len(item[1]))
        where = f"{domain.name}, group {name!r}" if domain.groups else domain.name
        raise ConfigError(f"{where}: {len(group)} classes, asked for at least {at_least}")
    return large


def _pick(pools: list[list[int]], generator: torch.Generator) -> list[int]:
    return pools[int(torch.randint(len(pools), (), generator=generator))]


def _require_images(domain: Domain, n: int, wanted: str) -> None:
    smallest = int(domain.counts.argmin())
    if domain.counts[smallest] < n:
        raise ConfigError(
            f"{domain.name}: class {domain.class_names[smallest]!r} has "
            f"{domain.counts[smallest]} images, asked for {wanted}; "
            f"ask for fewer or keep the larger classes with domain.only(...)"
        )


def _fill(
    domain: Domain,
    classes: Int[Tensor, " way"],
    shots: Int[Tensor, " way"],
    n_query: int,
    *,
    style: Style | None,
    generator: torch.Generator,
) -> Episode:
    chosen = []
    for number, n_shot in zip(classes.tolist(), shots.tolist(), strict=True):
        members = domain.members[number]
        order = torch.randperm(len(members), generator=generator)[: n_shot + n_query]
        chosen.append(members[order].split([n_shot, n_query]))
    support, query = (torch.cat(part) for part in zip(*chosen, strict=True))
    images = domain.batch(torch.cat([support, query]))
    images = images if style is None else style(images)
    n_way, ways = len(classes), torch.arange(len(classes))
    return Episode(
        LabelledImages(images[: len(support)], ways.repeat_interleave(shots), n_way),
        LabelledImages(images[len(support) :], ways.repeat_interleave(n_query), n_way),
        domain.name,
        tuple(domain.class_names[number] for number in classes.tolist()),
    )
