"""Meta-Dataset as its official conversion writes it: `dataset_spec.json` and TFRecord files.

Deviation: of each of QuickDraw's classes the first 1,000 drawings are read, for 50 million are
more than memory holds; Meta-Dataset draws shots in proportion to all of them.

Source: Triantafillou et al. 2020, arXiv:1903.03096; github.com/google-research/meta-dataset,
`meta_dataset/data/dataset_spec.py` and `meta_dataset/dataset_conversion/dataset_to_records.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..base import ArtifactError
from . import records
from .entries import NONE_STATED, Entry
from .formats import TEST, TRAIN, VAL, Part, find
from .hierarchy import ClassGraph
from .records import Record

SPEC = "dataset_spec.json"
ORDER = {"TRAIN": TRAIN, "VALID": VAL, "TEST": TEST}  # class ids run through them in turn
NAMES = {"TRAIN": "train", "VALID": "val", "TEST": "test"}
QUICKDRAW_IMAGES = 1000  # of the 113,613 to 340,029 drawings of each of its classes


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a dataset_spec.json says of every class, in the order of the class ids."""

    splits: list[int]  # see `formats.SPLITS`
    groups: list[str] | None = None  # Omniglot's alphabets
    counts: list[int] | None = None  # images; None: the conversion may have skipped some
    graphs: Mapping[str, ClassGraph] | None = None  # split -> hierarchy


def read(folder: Path, *, at_most: int | None = None) -> Part:
    """One data set of Meta-Dataset; its images are decoded later, one by one.

    Shards or pools of a class (`<class id>_<name>.tfrecords`) become one class.

    Args:
        at_most: images of a class, the first in its files; None is all.

    Raises:
        ArtifactError: if a file is missing or cut short, or spec and records disagree.

    Source: `at_most` is `num_to_take` of `meta_dataset/data/reader.py`.
    """
    path = find(folder, SPEC)
    spec = _spec(path)
    layout = KINDS[spec["__class__"]](spec)
    ids = range(len(layout.splits))
    if set(spec["class_names"]) != set(map(str, ids)):
        raise ArtifactError(
            f"{path} names {len(spec['class_names'])} classes, its splits have {len(ids)}"
        )
    images = [_images(path, spec, layout, k, at_most) for k in ids]
    labels = torch.arange(len(ids)).repeat_interleave(torch.tensor(list(map(len, images))))
    return Part(
        where=path.parent,
        images=[image for found in images for image in found],
        labels=labels,
        class_names=tuple(str(spec["class_names"][str(k)]) for k in ids),
        groups=layout.groups and tuple(layout.groups),
        split=torch.tensor(layout.splits)[labels],
        graphs=layout.graphs,
    )


def _spec(path: Path) -> dict:
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is no JSON: {error}") from error
    kind = spec.get("__class__") if isinstance(spec, dict) else type(spec).__name__
    if kind not in KINDS:
        raise ArtifactError(f"{path} is of unknown kind {kind!r}; have {list(KINDS)}")
    return spec


def _in_turn(n_of_split: Mapping[str, int]) -> list[int]:
    """The split of each class, or of each superclass: first the training ones, and so on."""
    return [split for name, split in ORDER.items() for _ in range(n_of_split[name])]


def _plain(spec: dict) -> Layout:
    counts = [spec["images_per_class"][str(k)] for k in range(len(spec["class_names"]))]
    counts = [sum(n.values()) if isinstance(n, dict) else n for n in counts]
    return Layout(splits=_in_turn(spec["classes_per_split"]), counts=counts)


def _two_levels(spec: dict) -> Layout:
    above = _in_turn(spec["superclasses_per_split"])
    of_class = [k for k in range(len(above)) for _ in range(_n_below(spec, k))]
    return Layout(
        splits=[above[k] for k in of_class],
        groups=[str(spec["superclass_names"][str(k)]) for k in of_class],
        counts=[spec["images_per_class"][str(k)] for k in range(len(spec["class_names"]))],
    )


def _n_below(spec: dict, superclass: int) -> int:
    return spec["classes_per_superclass"][str(superclass)]


def _hierarchy(spec: dict) -> Layout:
    nodes = {name: spec["split_subgraphs"][name] for name in ORDER}
    graphs = {
        NAMES[name]: ClassGraph({n["wn_id"]: tuple(n["parents_ids"]) for n in found})
        for name, found in nodes.items()
    }
    leaves = {k: sum(not n["children_ids"] for n in found) for k, found in nodes.items()}
    return Layout(splits=_in_turn(leaves), graphs=graphs)


KINDS = {
    "DatasetSpecification": _plain,
    "BiLevelDatasetSpecification": _two_levels,
    "HierarchicalDatasetSpecification": _hierarchy,
}


def _images(
    path: Path, spec: dict, layout: Layout, class_id: int, at_most: int | None
) -> list[Record]:
    pattern = spec["file_pattern"].format(class_id, "*")
    files = sorted(path.parent.glob(pattern))
    if not files:
        raise ArtifactError(f"{path.parent} lacks {pattern}; convert the data set again")
    found = [row for file in files for row in records.labelled(file, at_most=at_most)]
    found = found[:at_most]
    if strange := {label for _, label in found} - {class_id}:
        raise ArtifactError(f"{files[0]} holds images of the classes {sorted(strange)}")
    if layout.counts and len(found) != (n := _at_most(layout.counts[class_id], at_most)):
        raise ArtifactError(f"{files[0]} holds {len(found)} images, {path.name} says {n}")
    return [record for record, _ in found]


def _at_most(n: int, limit: int | None) -> int:
    return n if limit is None else min(n, limit)


def _entry(
    name: str, n_classes: int, source: str, *, at_most: int | None = None, licence: str = ""
) -> Entry:
    return Entry(
        n_classes=n_classes,
        licence=licence or NONE_STATED,
        source=source,
        read=partial(read, at_most=at_most),
        marks=(SPEC,),
        folder=f"meta_dataset/{name}",
        how="make it with Meta-Dataset's own script: python -m "
        "meta_dataset.dataset_conversion.convert_datasets_to_records "
        f"--dataset={name} --records_root=(the folder meta_dataset)",
    )


VGG = "https://www.robots.ox.ac.uk/~vgg/data"
ENTRIES = {
    "md_ilsvrc_2012": _entry(
        "ilsvrc_2012",
        1000,
        "https://www.image-net.org",
        licence="non-commercial research (its page)",
    ),
    "md_omniglot": _entry(
        "omniglot", 1623, "https://github.com/brendenlake/omniglot", licence="MIT"
    ),
    "md_aircraft": _entry(
        "aircraft",
        100,
        f"{VGG}/fgvc-aircraft/",
        licence="non-commercial research (its page)",
    ),
    "md_cu_birds": _entry("cu_birds", 200, "https://www.vision.caltech.edu/datasets/"),
    "md_dtd": _entry("dtd", 47, f"{VGG}/dtd/", licence="for research purposes (its page)"),
    "md_quickdraw": _entry(
        "quickdraw",
        345,
        "https://github.com/googlecreativelab/quickdraw-dataset",
        at_most=QUICKDRAW_IMAGES,
        licence="CC-BY-4.0",
    ),
    "md_fungi": _entry("fungi", 1394, "https://github.com/visipedia/fgvcx_fungi_comp"),
    "md_vgg_flower": _entry("vgg_flower", 102, f"{VGG}/flowers/102/"),
    "md_traffic_sign": _entry("traffic_sign", 43, "https://benchmark.ini.rub.de"),
    "md_mscoco": _entry("mscoco", 80, "https://cocodataset.org"),
}
