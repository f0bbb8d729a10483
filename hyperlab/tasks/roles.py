"""Which domain is used for what: said once, read by every script and table.

A domain has one role. `PRETRAIN` shapes the backbone, `TRAJECTORIES` feeds the drift network, and
nothing in `HELD_OUT` is ever seen before the evaluation. Families are procedural and always there;
real packs are used where they are found under `HYPERLAB_DATA`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..base import Progress, choose, silent
from . import domains, synthetic
from .domains import Domain


@dataclass(frozen=True)
class Source:
    """A part of a domain and how often it is drawn.

    Args:
        name: a real pack's name or a procedural family's.
        weight: relative frequency.
        classes: half-open range of classes; None is all of them.
        split: the pack's own split, where only one is used.
    """

    name: str
    weight: float = 1.0
    classes: tuple[int, int] | None = None
    split: str | None = None

    @property
    def procedural(self) -> bool:
        return self.name in synthetic.FAMILIES


SCENES = ("textures", "land_cover", "objects", "cells", "fruits", "leaves", "radiographs")
PRETRAIN = (  # photographs and their procedural cousins: no writing, so writing is a real shift
    Source("cifar10", 9.0, split="train"),
    Source("fruits360", 2.0, (0, 40)),
    Source("clothing", 2.0, split="train"),
    Source("bccd_cells", 0.5),
    Source("plantvillage_apple", 0.7),
    Source("pneumonia_mnist", 0.3),
    *(Source(name, 0.8) for name in SCENES),
)
VALIDATION_FAMILIES = (
    "hands",
    "leaves",
    "glyphs",
)  # choices are made on these, never fitted to
TRAJECTORIES = (
    Source("cifar10", 3.0, split="test"),
    Source("omniglot", 3.0),
    Source("clothing", 1.5, split="test"),
    *(Source(name) for name in synthetic.TRAIN_FAMILIES if name not in VALIDATION_FAMILIES),
)
VALIDATION = (Source("fruits360", classes=(40, 65)), *map(Source, VALIDATION_FAMILIES))
HELD_OUT_REAL = (
    "usps",
    "mnist",
    "kmnist",
    "fashion_mnist",
    "notmnist",
    "devanagari",
    "eurosat",
    "sign_digits",
    "digits",
)
HELD_OUT = tuple(map(Source, (*HELD_OUT_REAL, *synthetic.HELD_OUT)))
# New tasks of the domains that gave trajectories: drawn families with new classes, packs with the
# same images. To be held against `HELD_OUT`, not a test of anything new.
IN_DOMAIN = tuple(replace(source, weight=1.0) for source in TRAJECTORIES)
ROLES = {
    "pretrain": PRETRAIN,
    "trajectories": TRAJECTORIES,
    "validation": VALIDATION,
    "held_out": HELD_OUT,
    "in_domain": IN_DOMAIN,
}
FIRST_CLASS = {
    "pretrain": 0,
    "trajectories": 1_000,
    "validation": 2_000,
    "in_domain": 3_000,
    "held_out": 0,
}


def open_source(
    source: Source,
    role: str,
    *,
    root: Path | str | None = None,
    seed: int = 0,
    n_classes: int = 60,
    n_per_class: int = 60,
) -> Domain:
    """The images of one source; the last three arguments are for procedural families alone.

    Raises:
        DataMissingError: a real pack that is not on disk.
    """
    if source.procedural:
        counts = {"n_classes": n_classes, "n_per_class": n_per_class}
        return synthetic.render(
            source.name, **counts, seed=seed, first_class=FIRST_CLASS[role]
        )
    domain = domains.load(source.name, root=root, split=source.split)
    return domain.only(range(*source.classes)) if source.classes else domain


def present(role: str, *, root: Path | str | None = None) -> tuple[Source, ...]:
    """The sources of a role that can be opened here: families always, packs where they lie."""
    there = {"digits", *domains.available(root)}
    return tuple(s for s in choose(ROLES, role) if s.procedural or s.name in there)


def open_role(
    role: str, *, root: Path | str | None = None, progress: Progress = silent
) -> Iterator[tuple[Source, Domain]]:
    """Every source of a role that is there, one after another."""
    sources = present(role, root=root)
    for source in progress(sources, total=len(sources), desc=f"domains ({role})"):
        yield source, open_source(source, role, root=root)
