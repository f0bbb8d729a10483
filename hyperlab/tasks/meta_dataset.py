"""Meta-Dataset as its official conversion writes it: `dataset_spec.json` and TFRecord files.

Deviation: of each of QuickDraw's classes the first 1,000 drawings are read, for 50 million are
more than memory holds; Meta-Dataset draws shots in proportion to all of them.

Source: Triantafillou et al. 2020, arXiv:1903.03096; github.com/google-research/meta-dataset,
`meta_dataset/data/dataset_spec.py` and `meta_dataset/dataset_conversion/dataset_to_records.py`.
The records are read without TensorFlow: tensorflow.org/tutorials/load_data/tfrecord (framing),
protobuf.dev (encoding), `tensorflow/core/example/{example,feature}.proto` (numbers of the fields).
"""

import json
import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from ..base import ArtifactError
from .parts import SPLITS, ClassGraph, Part, Record, find, reading

SPEC = "dataset_spec.json"
ORDER = {"TRAIN": "train", "VALID": "val", "TEST": "test"}  # class ids run through them
QUICKDRAW_IMAGES = 1000  # of the 113,613 to 340,029 drawings of each of its classes
HEADER_BYTES = 12  # of a record: its length in 8 bytes, and the checksum of that number
FOOTER_BYTES = (
    4  # checksum of the record; none is verified, a damaged image fails to decode
)
Span = tuple[int, int]  # first byte and the one after the last


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a dataset_spec.json says of every class, in the order of the class ids."""

    splits: list[int]  # see `parts.SPLITS`
    groups: list[str] | None = None  # Omniglot's alphabets
    counts: list[int] | None = None  # images; None: the conversion may have skipped some
    graphs: Mapping[str, ClassGraph] | None = None  # split -> hierarchy


def read(folder: Path, *, at_most: int | None = None) -> Part:
    """One data set of Meta-Dataset; its images are decoded later, one by one.

    Shards or pools of a class (`<class id>_<name>.tfrecords`) become one class.

    Args:
        at_most: images of a class, the first in its files; None is all.

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
    with reading(path):
        spec = json.loads(path.read_text(encoding="utf-8"))
    kind = spec.get("__class__") if isinstance(spec, dict) else type(spec).__name__
    if kind not in KINDS:
        raise ArtifactError(f"{path} is of unknown kind {kind!r}; have {list(KINDS)}")
    return spec


def _in_turn(n_of_split: Mapping[str, int]) -> list[int]:
    """The split of each class, or of each superclass: first the training ones, and so on."""
    return [SPLITS[k] for name, k in ORDER.items() for _ in range(n_of_split[name])]


def _counts(spec: dict) -> list[int]:
    counts = [spec["images_per_class"][str(k)] for k in range(len(spec["class_names"]))]
    return [sum(n.values()) if isinstance(n, dict) else n for n in counts]  # of pools


def _plain(spec: dict) -> Layout:
    return Layout(splits=_in_turn(spec["classes_per_split"]), counts=_counts(spec))


def _two_levels(spec: dict) -> Layout:
    above = _in_turn(spec["superclasses_per_split"])
    below = spec["classes_per_superclass"]
    of_class = [k for k in range(len(above)) for _ in range(below[str(k)])]
    return Layout(
        splits=[above[k] for k in of_class],
        groups=[str(spec["superclass_names"][str(k)]) for k in of_class],
        counts=_counts(spec),
    )


def _hierarchy(spec: dict) -> Layout:
    nodes = {name: spec["split_subgraphs"][name] for name in ORDER}
    graphs = {
        ORDER[name]: ClassGraph({n["wn_id"]: tuple(n["parents_ids"]) for n in found})
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
    if not (files := sorted(path.parent.glob(pattern))):
        raise ArtifactError(f"{path.parent} lacks {pattern}; convert the data set again")
    found = [row for file in files for row in labelled(file, at_most=at_most)][:at_most]
    if strange := {label for _, label in found} - {class_id}:
        raise ArtifactError(f"{files[0]} holds images of the classes {sorted(strange)}")
    n = min(layout.counts[class_id], at_most or math.inf) if layout.counts else len(found)
    if len(found) != n:
        raise ArtifactError(f"{files[0]} holds {len(found)} images, {path.name} says {n}")
    return [record for record, _ in found]


def labelled(path: Path, *, at_most: int | None = None) -> list[tuple[Record, int]]:
    """The images of a TFRecord file and their labels, in the order of the file.

    Each record is a tf.train.Example with the features `image` (bytes) and `label` (int64).

    Args:
        at_most: records to read; None is all.
    """
    if not path.stat().st_size:
        return []
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        spans = islice(_records(path, data), at_most)
        return [_image_and_label(path, data, span) for span in spans]


def _records(path: Path, data: mmap.mmap) -> Iterator[Span]:
    """Of each record the bytes between its header and its footer."""
    at = 0
    while at < len(data):
        start = at + HEADER_BYTES
        end = start + int.from_bytes(data[at : at + 8], "little")
        at = end + FOOTER_BYTES
        if at > len(data):
            raise ArtifactError(
                f"{path} is cut short, damaged or no TFRecord file: it has {len(data)} bytes, "
                f"a record would end at {at}; convert it again"
            )
        yield start, end


def _image_and_label(path: Path, data: mmap.mmap, span: Span) -> tuple[Record, int]:
    """An Example's features are field 1, each of them in 1, with key 1 and value 2; lists of bytes
    are field 1 of a value, of integers 3, their items 1.
    """
    try:
        features = {}
        for _, entry in _fields(data, _field(data, span, 1)):
            start, end = _field(data, entry, 1)
            features[data[start:end]] = _field(data, entry, 2)
        start, end = _field(data, features[b"image"], 1, 1)
        label, _ = _varint(data, *_field(data, features[b"label"], 3, 1))
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{path}: the record at byte {span[0]} has no image and label: {error}"
        ) from error
    return Record(path, start, end - start), label


def _field(data: mmap.mmap, span: Span, *numbers: int) -> Span:
    """The field of the first number, in it that of the second, and so on."""
    for number in numbers:
        span = dict(_fields(data, span))[number]
    return span


def _fields(data: mmap.mmap, span: Span) -> Iterator[tuple[int, Span]]:
    """The number and the content of each field of a protobuf message: numbers and bytes."""
    at, end = span
    while at < end:
        key, at = _varint(data, at, end)
        value, stop = _varint(data, at, end)
        if key & 7 == 2:
            at, stop = stop, stop + value
        elif key & 7:
            raise ValueError(f"unknown wire type {key & 7}")
        if stop > end:
            raise ValueError(f"a field runs {stop - end} bytes over its message")
        yield key >> 3, (at, stop)
        at = stop


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the byte after it."""
    value = 0
    for shift, place in zip(range(0, 70, 7), range(at, end), strict=False):
        value |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            return value, place + 1
    raise ValueError("a number without an end")
