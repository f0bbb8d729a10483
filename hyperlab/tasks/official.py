"""Readers of data sets that are image files, in their official layouts; CDFSL's among them.

A missing file, and a table with other columns or rows, is an ArtifactError that names it.

Deviation: of CDFSL's images the middle square is resampled, as everywhere; the benchmark squeezes
the whole image into a square 1.15 times as large and cuts the middle out of that.

Source of CDFSL: Guo et al. 2020, arXiv:1912.07200; github.com/IBM/cdfsl-benchmark, `configs.py`
and `datasets/{CropDisease,EuroSAT,ISIC,Chest}_few_shot.py`.
"""

import csv
import zipfile
from dataclasses import replace
from pathlib import Path

import torch

from ..base import ArtifactError
from . import folders
from .formats import pack
from .parts import SPLITS, TEST, TRAIN, Listing, Part, find, listed, reading

LESIONS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # columns of ISIC 2018's table
FINDINGS = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule")
FINDINGS += ("Pneumothorax",)
ISIC = "ISIC2018_Task3_Training"
CHEST_TABLE = "Data_Entry_2017.csv"


def omniglot(path: Path) -> Part:
    """Omniglot's official zips (or the folders in them), else the pack `omniglot28.npz`.

    The classes are the characters, the 964 of the background set before the 659 of the
    evaluation set; groups are the alphabets; background is "train", evaluation "test".
    """
    rows = _characters(path, "images_background", TRAIN)
    rows += _characters(path, "images_evaluation", TEST)
    return _by_alphabet(path, rows) if rows else _omniglot28(path / "omniglot28.npz")


def omniglot_small(path: Path) -> Part:
    """Omniglot's two small background sets, from zips; what both have counts once."""
    rows = _characters(path, "images_background_small1", TRAIN)
    rows += _characters(path, "images_background_small2", TRAIN)
    once = {(name, file.name): (name, file, split) for name, file, split in rows}
    return _by_alphabet(path, [once[key] for key in sorted(once)])


def _characters(path: Path, name: str, split: int) -> Listing:
    """Rows of <top>/<alphabet>/<character>/<drawing>.png in a zip or a folder, if it is there."""
    if not (place := find(path, f"{name}.zip", name)):
        return []
    if place.is_dir():
        files = {p.relative_to(place.parent).as_posix(): p for p in place.rglob("*.png")}
    else:
        with reading(place):
            archive = zipfile.ZipFile(place)
        names = [name for name in archive.namelist() if name.endswith(".png")]
        files = {name: zipfile.Path(archive, name) for name in names}
    if strange := [name for name in files if name.count("/") != 3]:
        raise ArtifactError(f"{place} is not laid out as Omniglot: {strange[0]}")
    return [("/".join(n.split("/")[1:3]), files[n], split) for n in sorted(files)]


def _by_alphabet(path: Path, rows: Listing) -> Part:
    return _with_alphabets(listed(path, rows, dict.fromkeys(name for name, _, _ in rows)))


def _omniglot28(path: Path) -> Part:
    """The pack of 28-pixel drawings, its classes in the order of the official archives."""
    part = pack(path)
    if part.split is None:
        return _with_alphabets(part)
    first = torch.empty(len(part.class_names), dtype=torch.int64)
    first[part.labels] = part.split
    order = first.argsort(stable=True)
    names = tuple(part.class_names[k] for k in order.tolist())
    labels = order.argsort()[part.labels]
    return _with_alphabets(replace(part, labels=labels, class_names=names))


def _with_alphabets(part: Part) -> Part:
    return replace(part, groups=tuple(name.split("/")[0] for name in part.class_names))


def gtsrb(path: Path) -> Part:
    """GTSRB: training images in class folders, test images with a table of classes."""
    training = find(path, "GTSRB/Training", "GTSRB/Final_Training/Images")
    rows = folders.scan(training).images if training else []
    test, table = find(path, "GTSRB/Final_Test/Images"), find(path, "GT-final_test.csv")
    if test and table:
        lines = _rows(table, ("ClassId", "Filename"), delimiter=";")
        rows += [(f"{int(x['ClassId']):05d}", test / x["Filename"], TEST) for x in lines]
    return listed(path, rows)


def eurosat(path: Path) -> Part:
    """EuroSAT: class folders without an official split."""
    return folders.scan(find(path, "2750")).part


def crop_disease(path: Path) -> Part:
    """CropDisease: class folders, of the training part alone."""
    return folders.scan(find(path, "dataset/train", "train")).part


def dtd(path: Path) -> Part:
    """The Describable Textures: class folders, and the first of its ten official splits."""
    home = find(path, "dtd")
    split = {}
    for name in ("train", "val", "test"):
        lines = (home / "labels" / f"{name}1.txt").read_text(encoding="utf-8").split()
        split |= dict.fromkeys(lines, SPLITS[name])
    images = folders.scan(home / "images").images
    rows = [(name, file, split[f"{name}/{file.name}"]) for name, file, _ in images]
    return listed(home, rows)


def isic(path: Path) -> Part:
    """ISIC 2018, task 3: seven kinds of skin lesion, one column of the table for each."""
    table = _there(path, f"{ISIC}_GroundTruth/{ISIC}_GroundTruth.csv")
    images = _there(path, f"{ISIC}_Input")
    listing = []
    for row in _rows(table, ("image", *LESIONS)):
        marked = [name for name in LESIONS if float(row[name])]
        if len(marked) != 1:
            raise ArtifactError(
                f"{table}: {row['image']} is marked {marked}; want one class"
            )
        listing.append((marked[0], images / f"{row['image']}.jpg", TRAIN))
    return listed(path, listing, LESIONS, has_split=False)


def chest_x(path: Path) -> Part:
    """ChestX-ray8: images with exactly one finding, and that one of the benchmark's seven."""
    images = _there(path, "images")
    table = _rows(_there(path, CHEST_TABLE), ("Image Index", "Finding Labels"))
    listing = [(row["Finding Labels"], images / row["Image Index"], TRAIN) for row in table]
    listing = [row for row in listing if row[0] in FINDINGS]
    return listed(path, listing, FINDINGS, has_split=False)


def _there(path: Path, name: str) -> Path:
    if not (found := find(path, name)):
        raise ArtifactError(f"{path} lacks {name}")
    return found


def _rows(
    table: Path, columns: tuple[str, ...], delimiter: str = ","
) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(
            file, restval="", delimiter=delimiter, skipinitialspace=True
        )
        rows = list(reader)
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ArtifactError(f"{table} lacks the columns {missing}; has {reader.fieldnames}")
    return rows
