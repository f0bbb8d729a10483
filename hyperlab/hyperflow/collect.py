"""Drawing tasks and recording how they are fine-tuned, batch by batch into a store."""

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import __version__
from ..base import ConfigError, Progress, choose, default_device, silent, stream, tell
from ..executor import Executor
from ..identity import checksum, settings
from ..models.belonging import described, weights_fingerprint
from ..models.targets import Target
from ..store import whole_address
from ..tasks import roles
from ..tasks.domains import Domain
from ..tasks.episodes import Episode, LabelledImages
from ..tasks.protocols import PROTOCOLS
from ..tasks.styles import Style, random_style
from .context import encode_all, pad
from .teacher import Supports, TeacherConfig, fine_tune
from .trajectories import TrajectoryStore

LOG = logging.getLogger(__name__)
START_NOISE = 0.03  # standard deviation of every parameter's start beside theta0
CHUNK = 1_024  # images that are looked at together for the contexts
# Images of a pass. On a CPU larger products gain nothing from about 128 rows of tokens on, see
# results/bench_collection.json; on an accelerator the more the better, and memory is the limit.
IMAGES = {"cpu": 128, "cuda": 8_192}


@dataclass(frozen=True, kw_only=True)
class CollectConfig:
    """Which tasks are recorded, and how they are fine-tuned."""

    role: str = "trajectories"  # of the domains, see `tasks.roles`
    protocol: str = "smaller"  # how an episode is drawn, see `tasks.protocols`
    other: str = "5-way 5-shot"  # the protocol of the share `mixed` of the tasks
    mixed: float = 0.2
    styled: float = 0.8  # share of the tasks under a random style of their own
    n_tasks: int = 2_400
    batch: int = 8  # tasks that share a domain and are fine-tuned together
    seed: int = 0
    size: int = 32  # pixels of the images of real packs
    teacher: TeacherConfig = TeacherConfig()

    def __post_init__(self) -> None:
        choose(roles.ROLES, self.role)
        choose(PROTOCOLS, self.protocol)
        choose(PROTOCOLS, self.other)
        if self.n_tasks < 1 or self.batch < 1:
            raise ConfigError(f"n_tasks and batch must be >= 1, got {self}")
        if not all(0 <= x <= 1 for x in (self.mixed, self.styled)):
            raise ConfigError(f"mixed and styled are shares, 0 to 1; got {self}")

    @property
    def max_support(self) -> int:
        """The most support images that a task may have: the width of the store."""
        return max(PROTOCOLS[name].max_support for name in (self.protocol, self.other))

    @classmethod
    def at(cls, scale: str) -> "CollectConfig":
        short = {"protocol": "5-way 5-shot", "teacher": TeacherConfig(steps=4)}
        smoke, laptop = cls(n_tasks=16, batch=4, **short), cls(n_tasks=200)
        paper = cls(n_tasks=40_000)
        return choose({"smoke": smoke, "laptop": laptop, "paper": paper}, scale)


@dataclass(frozen=True, eq=False)
class DrawnTask:
    """A task and where it comes from."""

    episode: Episode
    source: int  # index into the role's sources
    styled: bool


def draw_domain(
    config: CollectConfig, batch: int, *, root: Path | str | None = None
) -> tuple[int, Domain]:
    """The domain of one batch: in turn for held-out roles, at random by weight for training.

    A procedural family gets a script, palette and background of its own for every batch.
    """
    sources = roles.present(config.role, root=root)
    training = config.role == "trajectories"
    if training:
        weights = torch.tensor([s.weight for s in sources])
        generator = stream(config.seed, config.role, "domain", batch)
        index = int(torch.multinomial(weights, 1, generator=generator))
    else:
        index = batch % len(sources)
    options = {"root": root, "size": config.size}
    if not (training and sources[index].procedural):
        return index, roles.opened(sources[index], config.role, **options)
    seed = 1 + config.seed * 1_000_000 + batch
    drawing = roles.Drawing(n_classes=24, n_per_class=40, seed=seed)
    return index, roles.open_source(sources[index], config.role, drawing=drawing, **options)


def draw_tasks(
    config: CollectConfig, batch: int, *, root: Path | str | None = None
) -> Iterator[DrawnTask]:
    """The tasks of one batch; task i is the same whatever was drawn before."""
    source, domain = draw_domain(config, batch, root=root)
    first = batch * config.batch
    for i in range(first, min(first + config.batch, config.n_tasks)):
        generator = stream(config.seed, config.role, "task", i)
        dice = torch.rand(2, generator=generator)
        styled = bool(dice[0] < config.styled)
        style = random_style(generator) if styled else Style()
        other = dice[1] < config.mixed
        protocol = choose(PROTOCOLS, config.other if other else config.protocol)
        episode = protocol.draw(domain, style=style.apply, generator=generator)
        yield DrawnTask(episode, source, styled)


def record(
    target: Target, tasks: list[DrawnTask], config: CollectConfig, batch: int
) -> dict[str, np.ndarray]:
    """Fine-tune the tasks side by side; every array of the store for this batch."""
    supports = [task.episode.support for task in tasks]
    first = batch * config.batch
    numbers = range(first, first + len(tasks))
    names = [(config.seed, config.role, "views", i) for i in numbers]
    begin = torch.stack([start(target, config, i) for i in numbers])
    thetas, losses = fine_tuned(target, supports, config.teacher, names, begin)
    contexts = pad(encode_all(target, supports, chunk=CHUNK), config.max_support)
    explodes = losses[:, -1] > 2 * losses[:, 0] + 1
    arrays = {
        "thetas": thetas,
        "losses": losses,
        "features": contexts.features,
        "residual": contexts.residual,
        "labels": contexts.labels,
        "domain": torch.tensor([task.source for task in tasks]),
        "styled": torch.tensor([task.styled for task in tasks]),
        "perturbed": (begin != target.theta0).any(1),
        "n_way": torch.tensor([s.n_way for s in supports]),
        "n_support": torch.tensor([len(s.labels) for s in supports]),
        "diverged": ~thetas.isfinite().all((1, 2)).cpu() | explodes.cpu(),
    }
    return {name: array.cpu().numpy() for name, array in arrays.items()}


def start(target: Target, config: CollectConfig, task: int) -> Float[Tensor, " params"]:
    """Where a task's fine-tuning begins: at theta0, or a share of the tasks beside it."""
    generator = stream(config.seed, config.role, "start", task)
    beside = torch.rand((), generator=generator) < config.teacher.perturbed
    noise = torch.randn(target.subset.n_params, generator=generator).to(target.theta0)
    return target.theta0 + START_NOISE * beside * noise


def fine_tuned(
    target: Target,
    supports: Sequence[LabelledImages],
    config: TeacherConfig,
    names: Sequence[tuple[int | str, ...]],
    starts: Float[Tensor, " tasks params"] | None = None,
) -> tuple[Float[Tensor, " tasks knots params"], Float[Tensor, " tasks knots"]]:
    """Every knot and loss of some tasks, in passes of a size that suits the device.

    Where memory is short, half of a pass at a time.

    Args:
        names: of each task's random stream.
        starts: of each task's theta; None: theta0.
    """
    limit = choose(IMAGES, target.device.type)
    groups = passes([len(support.labels) for support in supports], limit)
    starts = target.theta0.expand(len(names), -1) if starts is None else starts
    parts = [(supports[g], config, names[g], starts[g]) for g in groups]
    return _joined([_at_once(target, *part) for part in parts])


def _joined(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    thetas, losses = (torch.cat(column) for column in zip(*parts, strict=True))
    return thetas, losses


@contextmanager
def products(*, tf32: bool) -> Iterator[None]:
    """Inside, an accelerator's matrix products are in TF32, or in full single precision.

    Parameters, gradients and sums stay in single precision either way.
    """
    backend = torch.backends.cuda.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        backend.fp32_precision = before


def passes(sizes: Sequence[int], limit: int) -> Iterator[slice]:
    """Neighbouring tasks that go through the target together: as many as have `limit` images."""
    first = images = 0
    for i, size in enumerate(sizes):
        if i > first and images + size > limit:
            yield slice(first, i)
            first, images = i, 0
        images += size
    yield slice(first, len(sizes))


def _at_once(
    target: Target,
    supports: Sequence[LabelledImages],
    config: TeacherConfig,
    names: Sequence[tuple[int | str, ...]],
    starts: Float[Tensor, " tasks params"],
) -> tuple[Tensor, Tensor]:
    try:
        views = [stream(*name) for name in names]
        with products(tf32=config.tf32):
            joined = Supports.join(supports)
            steps = list(fine_tune(target, joined, config, views, starts=starts))
        thetas, losses = (torch.stack(column, 1) for column in zip(*steps, strict=True))
        return thetas, losses
    except torch.OutOfMemoryError as error:
        if len(supports) == 1:
            raise ConfigError(
                f"fine-tuning on {len(supports[0].labels)} images does not fit into the "
                "accelerator's memory; take smaller images or another protocol"
            ) from error
    n = len(supports)
    LOG.warning("out of memory with %d tasks at once: half of them at a time", n)
    torch.cuda.empty_cache()
    halves = slice(n // 2), slice(n // 2, None)
    parts = [(supports[g], config, names[g], starts[g]) for g in halves]
    return _joined([_at_once(target, *part) for part in parts])


def collect(
    target: Target,
    path: Path | str,
    config: CollectConfig,
    *,
    executor: Executor = Executor(),  # noqa: B008 (frozen)
    root: Path | str | None = None,
    progress: Progress = silent,
) -> TrajectoryStore:
    """Record `config.n_tasks` trajectories into the store at `path`, or what it still lacks.

    Damaged batches count as missing. Several runs may fill one store. Whatever executor does it,
    the numbers are the same.
    """
    store = create(target, path, config, root=root)
    store.sweep()
    lacking = sorted({*store.missing, *store.damaged(progress=progress)})
    batches = executor.take(lacking)
    job = partial(_fill, whole_address(path), root, bool(executor.scheduler))
    done = executor.each(job, batches, target)
    bar = progress(done, total=len(batches), desc=f"collecting ({config.role})")
    diverged = 0
    for n in bar:
        diverged += n
        tell(bar, diverged=diverged)
    return store


def create(
    target: Target,
    path: Path | str,
    config: CollectConfig,
    *,
    root: Path | str | None = None,
) -> TrajectoryStore:
    """The empty store of a collection, or the one that is begun already."""
    about = {
        "config": dataclasses.asdict(config),
        **backbone(target),
        "made_for": described(target),
        **domains_of(config, root=root),
        "token_size": token_size(target),
        "version": __version__,
    }
    inputs, dim = target.context_sizes
    sizes = {"task": config.n_tasks, "knot": config.teacher.steps + 1, "input": inputs}
    sizes |= {"dim": dim, "param": target.subset.n_params, "image": config.max_support}
    return TrajectoryStore.create(path, sizes, batch=config.batch, about=about)


def domains_of(
    config: CollectConfig, *, root: Path | str | None = None
) -> dict[str, object]:
    """The domains that a collection draws from, and checksums of their images and labels."""
    sums = {
        source.name: roles.checksums(source, config.role, root=root, size=config.size)
        for source in roles.present(config.role, root=root)
    }
    parts = {part: {n: x[part] for n, x in sums.items()} for part in ("images", "labels")}
    return {"domains": list(sums), **parts}


def require_domains(store: TrajectoryStore, *, root: Path | str | None = None) -> None:
    """Raise ArtifactError unless the domains are those that a store was begun with."""
    config = config_of(store)
    store.require({"domains": [s.name for s in roles.present(config.role, root=root)]})
    store.require(domains_of(config, root=root))


def config_of(store: TrajectoryStore) -> CollectConfig:
    """The configuration that a store was made with."""
    fields = dict(store.group.attrs["config"])
    return CollectConfig(**{**fields, "teacher": TeacherConfig(**fields["teacher"])})


def _fill(
    path: Path | str, root: Path | str | None, own: bool, target: Target, batch: int
) -> int:
    """Draw, fine-tune and write one batch; how many of its tasks diverged.

    Args:
        own: on the accelerator of the machine that this runs on, if it has one.
    """
    target = target.to(default_device()) if own else target
    store = TrajectoryStore.open(path)
    config = config_of(store)
    arrays = record(target, tasks_of(store, batch, root=root), config, batch)
    store.write(batch, arrays)
    return int(arrays["diverged"].sum())


def tasks_of(
    store: TrajectoryStore, batch: int, *, root: Path | str | None = None
) -> list[DrawnTask]:
    """The tasks of one batch of a store, from the images that it was begun with."""
    config = config_of(store)
    sources = roles.present(config.role, root=root)
    store.require({"domains": [source.name for source in sources]})
    tasks = list(draw_tasks(config, batch, root=root))
    source = sources[tasks[0].source]
    sums = roles.checksums(source, config.role, root=root, size=config.size)
    kept = {part: store.group.attrs.get(part) or {} for part in sums}
    store.require({part: {**kept[part], source.name: sums[part]} for part in sums})
    return tasks


def redrawn(
    store: TrajectoryStore, *, root: Path | str | None = None
) -> Iterator[tuple[LabelledImages, Float[Tensor, " knots params"]]]:
    """The support set and the path of every task of a store; the images are drawn again."""
    require_domains(store, root=root)
    diverged = store.group["diverged"][:]
    for batch in store.there:
        rows = store.rows(batch)
        thetas, lost = store.group["thetas"][rows], diverged[rows]
        tasks = tasks_of(store, batch, root=root)
        for task, path, diverges in zip(tasks, thetas, lost, strict=True):
            if not diverges:
                yield task.episode.support, torch.from_numpy(path)


def token_size(target: Target) -> int:
    """Numbers of theta that belong together: what divides all tensors that move, and a feature.

    For qkv biases one layer's query, key or value bias.
    """
    return math.gcd(target.context_sizes[1], *target.subset.sizes)


def backbone(target: Target) -> dict[str, object]:
    """What a recorded path depends on: weights and subset, and how images go in and come out."""
    own = ("name", "model", "subset")
    names = [f.name for f in dataclasses.fields(target) if f.name not in own]
    kept = {name: getattr(target, name) for name in names}
    kept["inputs"] = dataclasses.asdict(target.inputs)
    kept["network"] = checksum(type(target).__qualname__, settings(target.model))
    return {"target": weights_fingerprint(target), "input": kept}
