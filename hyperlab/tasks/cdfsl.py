"""The four target domains of the CDFSL benchmark, in the layouts that its code reads.

Deviation: the middle square of an image is resampled, as everywhere here; the benchmark squeezes
the whole image into a square 1.15 times as large and cuts the middle out of that.

Source: Guo et al. 2020, arXiv:1912.07200; github.com/IBM/cdfsl-benchmark, `configs.py` and
`datasets/{CropDisease,EuroSAT,ISIC,Chest}_few_shot.py`.
"""

import csv
from pathlib import Path

from ..base import ArtifactError
from . import folders, pictures
from .entries import NONE_STATED, Entry
from .formats import TRAIN, Part, find, listed

LESIONS = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")  # columns of ISIC 2018's table
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumothorax",
)
ISIC = "ISIC2018_Task3_Training"
ISIC_TABLE = f"{ISIC}_GroundTruth/{ISIC}_GroundTruth.csv"
CHEST_TABLE = "Data_Entry_2017.csv"


def crop_disease(path: Path) -> Part:
    """CropDisease: the 38 class folders under `dataset/train`, nothing of its other parts."""
    return folders.scan(find(path, "dataset/train", "train")).part


def isic(path: Path) -> Part:
    """ISIC 2018, task 3: seven kinds of skin lesion, one column of the table for each.

    Raises:
        ArtifactError: if the table has other columns, or a row not exactly one class.
    """
    table = _there(path, ISIC_TABLE)
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
    """ChestX-ray8: images with exactly one finding, and that one of the benchmark's seven.

    Raises:
        ArtifactError: if the table has other columns.
    """
    images = _there(path, "images")
    table = _rows(_there(path, CHEST_TABLE), ("Image Index", "Finding Labels"))
    listing = [(row["Finding Labels"], images / row["Image Index"], TRAIN) for row in table]
    listing = [row for row in listing if row[0] in FINDINGS]
    return listed(path, listing, FINDINGS, has_split=False)


def _there(path: Path, name: str) -> Path:
    if not (found := find(path, name)):
        raise ArtifactError(f"{path} lacks {name}")
    return found


def _rows(table: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, restval="")
        rows = list(reader)
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ArtifactError(f"{table} lacks the columns {missing}; has {reader.fieldnames}")
    return rows


ENTRIES = {
    "crop_disease": Entry(
        n_classes=38,
        licence=NONE_STATED,
        source="https://www.kaggle.com/saroz014/plant-disease/",
        read=crop_disease,
        marks=("dataset/train", "train"),
        folder="cdfsl/plant-disease",
        how="unpack the archive of https://www.kaggle.com/saroz014/plant-disease/ there",
    ),
    "eurosat_cdfsl": Entry(
        n_classes=10,
        licence="MIT",
        source="https://github.com/phelber/EuroSAT",
        read=pictures.eurosat,
        marks=("2750",),
        folder="cdfsl/EuroSAT",
        how="unpack http://madm.dfki.de/files/sentinel/EuroSAT.zip there",
    ),
    "isic": Entry(
        n_classes=7,
        licence="CC-BY-NC-4.0",
        source="https://challenge.isic-archive.com/data/#2018",
        read=isic,
        marks=(f"{ISIC}_GroundTruth", f"{ISIC}_Input"),
        folder="cdfsl/ISIC",
        how=f"unpack {ISIC}_Input.zip and {ISIC}_GroundTruth.zip there, from "
        "https://challenge.isic-archive.com/data/#2018",
    ),
    "chest_x": Entry(
        n_classes=7,
        licence=NONE_STATED,
        source="https://www.kaggle.com/nih-chest-xrays/data",
        read=chest_x,
        marks=(CHEST_TABLE,),
        folder="cdfsl/chestX",
        how=f"put {CHEST_TABLE} and all images in one folder `images` there, from "
        "https://www.kaggle.com/nih-chest-xrays/data",
    ),
}
