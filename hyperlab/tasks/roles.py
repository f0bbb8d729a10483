"""Which domain is used for what: said once, read by every script and table.

A domain has one role. `PRETRAIN` shapes the backbone, `TRAJECTORIES` feeds the drift network, and
no network is fitted to an image of `HELD_OUT`. It is no untouched test: choices were made while
looking at it (results/README.md), and procedural families of the other roles were written to
resemble packs of it (`synthetic.FAMILIES` names each cousin: cursive KMNIST, clothes Fashion-MNIST,
land_cover EuroSAT, characters Devanagari and MNIST; for validation glyphs notMNIST, hands Sign
Language Digits). Families are always there; real packs are used where they are found under
`HYPERLAB_DATA`. The roles of `BENCHMARKS` are those of Meta-Dataset and CDFSL, and hold nothing
else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from ..base import DataMissingError, Progress, choose, silent
from ..identity import checksum, files
from . import domains, own
from .domains import Domain
from .drawn import synthetic


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
VALIDATION_FAMILIES = ("hands", "leaves", "glyphs")  # to choose on, never fitted to
TRAJECTORIES = (
    Source("cifar10", 3.0, split="test"),
    Source("omniglot", 3.0),
    Source("clothing", 1.5, split="test"),
    *(Source(name) for name in synthetic.TRAIN_FAMILIES if name not in VALIDATION_FAMILIES),
)
VALIDATION = (Source("fruits360", classes=(40, 65)), *map(Source, VALIDATION_FAMILIES))
HELD_OUT_REAL = ("usps", "mnist", "kmnist", "fashion_mnist", "notmnist", "devanagari")
HELD_OUT_REAL += ("eurosat", "sign_digits", "digits")
HELD_OUT = tuple(map(Source, (*HELD_OUT_REAL, *synthetic.HELD_OUT)))
# New tasks of the domains that gave trajectories: drawn families with new classes, packs with the
# same images. To be held against `HELD_OUT`, not a test of anything new.
IN_DOMAIN = tuple(replace(source, weight=1.0) for source in TRAJECTORIES)
COURSE = {
    "pretrain": PRETRAIN,
    "trajectories": TRAJECTORIES,
    "validation": VALIDATION,
    "held_out": HELD_OUT,
}
FIRST_CLASS = {"pretrain": 0, "trajectories": 1_000, "validation": 2_000, "held_out": 0}
FIRST_CLASS |= {"in_domain": 3_000}

# The eight that are trained on, each with classes of its own for every split.
META_DATASET = ("md_ilsvrc_2012", "md_omniglot", "md_aircraft", "md_cu_birds", "md_dtd")
META_DATASET += ("md_quickdraw", "md_fungi", "md_vgg_flower")
# Source: Triantafillou et al. 2020, arXiv:1903.03096, section 3.1; the last three, and that they
# are the official test images, Requeima et al. 2019, `src/prepare_extra_datasets.py`.
TEST_ONLY = ("md_traffic_sign", "md_mscoco", "mnist", "cifar10", "cifar100")
CDFSL = ("crop_disease", "eurosat_cdfsl", "isic", "chest_x")
BENCHMARKS = {
    "meta_dataset_train": tuple(Source(name, split="train") for name in META_DATASET),
    "meta_dataset_val": tuple(Source(name, split="val") for name in META_DATASET),
    "meta_dataset_test": tuple(Source(n, split="test") for n in META_DATASET + TEST_ONLY),
    "cdfsl": tuple(map(Source, CDFSL)),
}
OWN = ("own", "own_train", "own_test")  # of the folder or pack that `root` names
ROLES = {**COURSE, "in_domain": IN_DOMAIN, **BENCHMARKS, **dict.fromkeys(OWN, ())}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How much is drawn of a procedural family, and in which look."""

    n_classes: int = 60
    n_per_class: int = 60
    seed: int = 0  # of the look: script, palette, background


DRAWING = Drawing()


def open_source(
    source: Source,
    role: str,
    *,
    root: Path | str | None = None,
    size: int = 32,
    drawing: Drawing = DRAWING,
) -> Domain:
    """The images of one source, `size` x `size` pixels; `drawing` is for families alone."""
    if role in OWN:
        return own.part(domains.data_root(root), role, size=size)
    if source.procedural:
        return synthetic.render(
            source.name, **asdict(drawing), size=size, first_class=FIRST_CLASS[role]
        )
    domain = domains.load(source.name, root=root, size=size, split=source.split)
    return domain.only(range(*source.classes)) if source.classes else domain


def opened(
    source: Source,
    role: str,
    *,
    root: Path | str | None = None,
    size: int = 32,
    drawing: Drawing = DRAWING,
) -> Domain:
    """As `open_source`, but the images stay in memory for the next time while no file changes."""
    home, stamp = domains.data_root(root), ""
    if role in OWN:
        stamp = checksum(files(home))
    elif source.name in domains.CATALOGUE:
        stamp = domains.stamp(source.name, home)
    return kept(source, role, home.absolute(), size, drawing, stamp)


@lru_cache(maxsize=32)
def kept(
    source: Source, role: str, root: Path, size: int, drawing: Drawing, _stamp: str
) -> Domain:
    """What `opened` has in memory."""
    return open_source(source, role, root=root, size=size, drawing=drawing)


def checksums(
    source: Source, role: str, *, root: Path | str | None = None, size: int = 32
) -> Mapping[str, str]:
    """Of a source's images and labels; of a drawn family's by some that are drawn for it."""
    if source.procedural and role not in OWN:  # a reader's folder may be called plants
        few = Drawing(n_classes=2, n_per_class=2)
        return open_source(source, role, size=size, drawing=few).checksums
    return opened(source, role, root=root, size=size).checksums


def present(role: str, *, root: Path | str | None = None) -> tuple[Source, ...]:
    """The sources of a role that can be opened here: families always, packs where they lie."""
    if role in OWN:
        return (Source(own.name(domains.data_root(root))),)
    there = {"digits", *domains.available(root)}
    sources = choose(ROLES, role)
    if found := tuple(s for s in sources if s.procedural or s.name in there):
        return found
    raise DataMissingError(
        f"nothing of role {role!r} in {domains.data_root(root).absolute()}; it takes one or "
        f"more of {[s.name for s in sources]}, see python data_scripts/download_data.py --list"
    )


def open_role(
    role: str,
    *,
    root: Path | str | None = None,
    size: int = 32,
    progress: Progress = silent,
) -> Iterator[tuple[Source, Domain]]:
    """Every source of a role that is there, one after another."""
    sources = present(role, root=root)
    for source in progress(sources, total=len(sources), desc=f"domains ({role})"):
        yield source, open_source(source, role, root=root, size=size)
