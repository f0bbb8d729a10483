"""The tasks of a table: seeded, the same for every method, each with one that lends to controls."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from ..base import ConfigError, choose, stream
from ..tasks import roles
from ..tasks.domains import Domain
from ..tasks.episodes import Episode, sample
from ..tasks.protocols import PROTOCOLS

OTHER_CLASSES = "other classes of "  # of a lender that has classes of the task, too


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Which tasks a table is about."""

    role: str = "held_out"  # of the domains, see `tasks.roles`
    protocol: str = "variable"  # how an episode is drawn, see `tasks.protocols`
    n_tasks: int = 200  # per domain
    seed: int = 0
    only: tuple[str, ...] = ()  # names of domains; empty: all of the role that are here
    share: tuple[int, int] = (0, 1)  # (k, n): every n-th task from the k-th on
    size: int = 32  # pixels of the images of real packs

    @property
    def stem(self) -> str:
        """The beginning of the names of the files of rows."""
        return f"{self.role}-{self.protocol.replace(' ', '-')}-{self.seed}"


@dataclass(frozen=True, eq=False)
class Trial:
    """One task of a table, and the task that lends its support set as a control.

    Args:
        lend: samples that one; its domain is the lender, see `lenders`.
    """

    domain: str
    number: int
    episode: Episode
    lend: Callable[[], Episode] = field(repr=False)

    @cached_property
    def other(self) -> Episode:
        """A task of other classes, of another domain where the role has one.

        Raises:
            ConfigError: the only domain has too few classes that are not in the task.
        """
        return self.lend()

    @property
    def lender(self) -> str:
        return self.other.domain


def trials(
    config: EvalConfig,
    opened: Mapping[str, Domain] | None = None,
    *,
    root: Path | str | None = None,
) -> Iterator[Trial]:
    """The tasks of a table, one domain after the other in turn; number i is always the same.

    Args:
        opened: the table's domains by name, where they were opened before.
    """
    opened = opened or dict(open_domains(config, root=root))
    ring, there = lenders(config, root), dict(opened)

    def lend(name: str, number: int, row: Mapping[str, Episode]) -> Episode:
        for lender in ring[name]:
            if lender not in there:
                there.update(open_domains(replace(config, only=(lender,)), root=root))
            if not {*there[lender].class_names} & {*row[name].classes}:
                found = row.get(lender) or episode(config, lender, there[lender], number)
                return replace(found, domain=lender)
        first = (*ring[name], name)[0]
        g = stream(config.seed, "lend", config.protocol, name, number)
        found = other_classes(there[first], row[name], generator=g)
        return replace(found, domain=OTHER_CLASSES + first)

    for i in range(config.n_tasks):
        row = {name: episode(config, name, domain, i) for name, domain in opened.items()}
        for name, task in row.items():
            yield Trial(name, i, task, partial(lend, name, i, row))


def lenders(
    config: EvalConfig, root: Path | str | None = None
) -> dict[str, tuple[str, ...]]:
    """Of every domain of a table those whose tasks may lend their support sets to its controls.

    The next ones of the table; for a table of one domain the next of the role. The first one lends
    that has no class of the task. Where there is none, the very first does so from classes that are
    not in the task; a domain that is alone in its role lends like that to itself.
    """
    names = [source.name for source in chosen(config, root)]
    ring = names
    if len(names) == 1:
        ring = [source.name for source in roles.present(config.role, root=root)]
    at = {name: ring.index(name) for name in names}
    return {name: (*ring[k + 1 :], *ring[:k]) for name, k in at.items()}


def other_classes(domain: Domain, task: Episode, *, generator: torch.Generator) -> Episode:
    """A task of a domain that shares no class with another task.

    As many classes and support images as that one has, or as there are.

    Raises:
        ConfigError: fewer than two classes of two images are left.
    """
    pairs = enumerate(zip(domain.class_names, domain.counts.tolist(), strict=True))
    left = [k for k, (name, n) in pairs if name not in task.classes and n > 1]
    if len(left) < 2:
        raise ConfigError(
            f"{domain.name} is the only domain to lend and has {domain.n_classes} classes; a task "
            f"of {len(task.classes)} leaves {len(left)} of them for a wrong support set, which "
            "takes two; leave the control out, add classes or ask for fewer ways"
        )
    n_way = min(task.support.n_way, len(left))
    order = torch.randperm(len(left), generator=generator)[:n_way].tolist()
    pool = domain.only([left[k] for k in order])
    n_shot = min(-(-len(task.support.labels) // n_way), int(pool.counts.min()) - 1)
    sizes = {"n_way": n_way, "n_shot": n_shot, "n_query": 1}
    return sample(pool, **sizes, generator=generator)


def episode(config: EvalConfig, name: str, domain: Domain, number: int) -> Episode:
    """Task `number` of a domain: the same whatever else is in the table."""
    generator = stream(config.seed, "evaluate", config.protocol, name, number)
    return choose(PROTOCOLS, config.protocol).draw(domain, generator=generator)


def open_domains(
    config: EvalConfig, *, root: Path | str | None = None
) -> Iterator[tuple[str, Domain]]:
    """The domains of a table with their images."""
    for source in chosen(config, root):
        yield (
            source.name,
            roles.opened(source, config.role, root=root, size=config.size),
        )


def chosen(config: EvalConfig, root: Path | str | None = None) -> list[roles.Source]:
    """The domains of a table that are here."""
    choose(PROTOCOLS, config.protocol)
    there = roles.present(config.role, root=root)
    if unknown := set(config.only) - {s.name for s in there}:
        raise ConfigError(
            f"no domain {sorted(unknown)} of role {config.role!r} here; "
            f"have {[s.name for s in there]}"
        )
    return [s for s in there if not config.only or s.name in config.only]
