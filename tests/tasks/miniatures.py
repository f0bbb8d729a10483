"""Made-up images in each official file format: what is written is what must be read."""

import bz2
import gzip
import io
import itertools
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import scipy.io
from PIL import Image

from hyperlab.tasks.catalogue import CATALOGUE

TENS = np.arange(100) % 10


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_idx(path, array):
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder):
    images, labels = noise(22, 28, 28), np.arange(22, dtype=np.uint8) % 10
    for stem, suffix, rows in (("train", ".gz", slice(12)), ("t10k", "", slice(12, 22))):
        write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", images[rows])
        write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", labels[rows])
    return images[:, None], labels, 12


class Python2(pickle._Pickler):
    """Writes byte strings as Python 2 wrote its `str`, as in the official CIFAR files."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, data):
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = save_bytes


def write_pickle(path, items):
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        Python2(file, protocol=2).dump(items)


def write_cifar10(folder):
    home, images, labels = folder / "cifar-10-batches-py", noise(60, 3, 32, 32), TENS[:60]
    names = {b"label_names": [f"c{k}".encode() for k in range(10)]}
    write_pickle(home / "batches.meta", names)
    for i, name in enumerate([f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]):
        rows = slice(10 * i, 10 * i + 10)
        batch = {b"data": images[rows].reshape(10, -1), b"labels": labels[rows].tolist()}
        write_pickle(home / name, batch)
    return images, labels, 50


def write_cifar100(folder):
    home, images = folder / "cifar-100-python", noise(200, 3, 32, 32)
    labels = np.arange(200) % 100
    names = {b"fine_label_names": [f"fine{k}".encode() for k in range(100)]}
    names |= {b"coarse_label_names": [f"coarse{k}".encode() for k in range(20)]}
    write_pickle(home / "meta", names)
    for name, rows in (("train", slice(100)), ("test", slice(100, 200))):
        batch = {b"data": images[rows].reshape(100, -1)}
        batch |= {b"fine_labels": labels[rows].tolist()}
        batch |= {b"coarse_labels": (labels[rows] // 5).tolist()}
        write_pickle(home / name, batch)
    return images, labels, 100


def write_svhn(folder):
    images, labels = noise(22, 3, 32, 32), TENS[:22]
    for name, rows in (("train", slice(12)), ("test", slice(12, 22))):
        ten = np.where(labels[rows] == 0, 10, labels[rows]).astype(np.uint8)
        arrays = {"X": images[rows].transpose(2, 3, 1, 0), "y": ten[:, None]}
        scipy.io.savemat(folder / f"{name}_32x32.mat", arrays, do_compression=True)
    return images, labels, 12


def write_stl10(folder):
    home, images, labels = folder / "stl10_binary", noise(20, 3, 96, 96), TENS[:20]
    write_text(home / "class_names.txt", *(f"kind{k}" for k in range(10)))
    for name, rows in (("train", slice(10)), ("test", slice(10, 20))):
        (home / f"{name}_X.bin").write_bytes(images[rows].swapaxes(2, 3).tobytes())
        (home / f"{name}_y.bin").write_bytes((labels[rows] + 1).astype(np.uint8).tobytes())
    return images, labels, 10


def write_usps(folder):
    values = np.random.default_rng(0).uniform(-1, 1, (20, 256)).round(4)
    labels = TENS[:20]
    for name, rows in (("usps.bz2", slice(10)), ("usps.t.bz2", slice(10, 20))):
        lines = [
            f"{k + 1} " + " ".join(f"{i}:{x}" for i, x in enumerate(row, start=1))
            for k, row in zip(labels[rows], values[rows], strict=True)
        ]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    images = ((values + 1) / 2 * 255).astype(np.uint8).reshape(-1, 1, 16, 16)
    return images, labels, 10


def write_medmnist(folder):
    images, labels = noise(24, 28, 28, 3), np.arange(24) % 8
    parts = {"train": slice(8), "val": slice(8, 16), "test": slice(16, 24)}
    arrays = {f"{name}_images": images[rows] for name, rows in parts.items()}
    arrays |= {f"{name}_labels": labels[rows, None] for name, rows in parts.items()}
    np.savez(folder / "bloodmnist.npz", **arrays)
    order = [*range(8), *range(16, 24), *range(8, 16)]  # train, test, val
    return images.transpose(0, 3, 1, 2)[order], labels[order], 8


def encoded(image, kind="png"):
    """The bytes of an array or of an image as a file of that kind."""
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind)
    return file.getvalue()


def save(path, array, kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, kind)


def write_images(folder, n=4, first=0):
    """Image files 0.png ... in a folder, each another one."""
    for i in range(n):
        save(folder / f"{i}.png", noise(12, 12, 3, seed=first + i))
    return folder


def write_folder(folder, classes=("cat", "dog"), n=4):
    """Class folders with images that all differ."""
    for k, name in enumerate(classes):
        write_images(folder / name, n, first=100 * k + 100)
    return folder


def write_text(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_omniglot(folder):
    ink = np.where(noise(8, 105, 105) > 127, 255, 0).astype(np.uint8)
    sets = {
        "images_background": ("Greek", "Latin"),
        "images_evaluation": ("Angelic", "Tengwar"),
    }
    rows = iter(ink)
    for name, alphabets in sets.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for alphabet, drawing in itertools.product(alphabets, (1, 2)):
                place = f"{name}/{alphabet}/character01/0001_{drawing:02}.png"
                image = Image.fromarray(next(rows)).convert("1")
                archive.writestr(place, encoded(image))
    return ink[:, None], np.arange(8) // 2, 4


def write_gtsrb(folder):
    images, labels = noise(9, 32, 32, 3), np.array([0, 0, 1, 1, 2, 2, 2, 1, 0])
    home = folder / "GTSRB-Training_fixed" / "GTSRB" / "Training"
    test = folder / "GTSRB_Final_Test_Images" / "GTSRB" / "Final_Test" / "Images"
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i, k in enumerate(labels):
        save(
            home / f"{k:05d}" / f"{i:05d}.ppm" if i < 6 else test / f"{i:05d}.ppm",
            images[i],
        )
    lines += [f"{i:05d}.ppm;32;32;5;5;27;27;{k}" for i, k in enumerate(labels[6:], 6)]
    write_text(folder / "GTSRB_Final_Test_GT" / "GT-final_test.csv", *lines)
    return images.transpose(0, 3, 1, 2), labels, 6


def write_dtd(folder):
    home, names = folder / "dtd-r1.0.1" / "dtd", ("banded", "woven")
    images, lists = noise(6, 32, 32, 3), {"train1": [], "val1": [], "test1": []}
    for i in range(6):
        place = home / "images" / names[i // 3] / f"{names[i // 3]}_{i}.png"
        save(place, images[i])
        lists[list(lists)[i % 3]].append(f"{place.parent.name}/{place.name}")
    for name, lines in lists.items():
        write_text(home / "labels" / f"{name}.txt", *lines)
    return images.transpose(0, 3, 1, 2), np.arange(6) // 3, [0, 3]


def write_tiles(folder):
    images, labels = noise(4, 64, 64, 3), np.array([0, 0, 1, 1])
    for i, name in enumerate(("Forest", "Forest", "River", "River")):
        save(folder / "2750" / name / f"{name}_{i}.png", images[i])
    return images.transpose(0, 3, 1, 2), labels, None


def varint(n):
    low, rest = n & 0x7F, n >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def message(number, content):
    """A protobuf field of bytes, of text or of another message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(image, label, *, packed=True):
    """A tf.train.Example as `write_example` of the official conversion makes it."""
    numbers = message(1, varint(label)) if packed else varint(8) + varint(label)
    features = {b"image": message(1, message(1, image)), b"label": message(3, numbers)}
    entries = (message(1, name) + message(2, f) for name, f in features.items())
    return message(1, b"".join(message(1, entry) for entry in entries))


def write_tfrecords(path, examples):
    with path.open("wb") as file:
        for data in examples:
            file.write(struct.pack("<Q4s", len(data), b"crc1") + data + b"crc2")


def write_classes(folder, counts):
    """`<class id>.tfrecords` with that many images of each class."""
    images = [noise(count, 12, 12, 3, seed=k) for k, count in enumerate(counts)]
    for k, found in enumerate(images):
        examples = [example(encoded(image), k) for image in found]
        write_tfrecords(folder / f"{k}.tfrecords", examples)
    return np.concatenate(images).transpose(0, 3, 1, 2), np.arange(len(counts)).repeat(
        counts
    )


def write_spec(folder, kind, **items):
    common = {"name": folder.name, "path": "/path/to/records", "__class__": kind}
    spec = {**items, **common, "file_pattern": "{}.tfrecords"}
    (folder / "dataset_spec.json").write_text(json.dumps(spec, indent=2), encoding="utf-8")


def write_plain(folder, counts=(5, 4, 3, 4, 5, 6, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5)):
    """Six classes to train on, five to validate, five to test; their names are numbers."""
    write_spec(
        folder,
        "DatasetSpecification",
        classes_per_split={"TRAIN": 6, "VALID": 5, "TEST": 5},
        images_per_class={str(k): n for k, n in reversed([*enumerate(counts)])},
        class_names={str(k): k for k in range(16)},
    )
    images, labels = write_classes(folder, counts)
    return images, labels, sum(counts[:6])


def write_two_levels(folder):
    """Alphabets of 5 and 6 characters to train on, one of 5 to validate and one to test."""
    sizes, alphabets = (5, 6, 5, 5), ("Greek", "Latin", "Runes", "Angelic")
    above = np.repeat(alphabets, sizes).tolist()
    write_spec(
        folder,
        "BiLevelDatasetSpecification",
        superclasses_per_split={"TRAIN": 2, "VALID": 1, "TEST": 1},
        classes_per_superclass={str(k): n for k, n in enumerate(sizes)},
        images_per_class={str(k): 4 for k in range(21)},
        superclass_names={str(k): name for k, name in enumerate(alphabets)},
        class_names={str(k): f"{name}-character{k:02}" for k, name in enumerate(above)},
    )
    images, labels = write_classes(folder, [4] * 21)
    return images, labels, 44


def subgraph(root, leaves):
    """Nodes of one split: below the root a node for each group of leaves."""
    nodes = [(root, [*leaves], [])]
    for name, names in leaves.items():
        nodes += [(name, names, [root]), *((leaf, [], [name]) for leaf in names)]
    keys = ("wn_id", "children_ids", "parents_ids")
    return [{**dict(zip(keys, node, strict=True)), "words": "of it"} for node in nodes]


def write_hierarchy(folder):
    """Eleven classes to train on below two nodes, five to validate and five to test."""
    names = [f"n{k:08}" for k in range(21)]
    graphs = {
        "TRAIN": subgraph("entity", {"animal": names[:5], "object": names[5:11]}),
        "VALID": subgraph("carnivore", {"dog": names[11:16]}),
        "TEST": subgraph("device", {"clock": names[16:]}),
    }
    counts = {k: {n["wn_id"]: 4 for n in nodes} for k, nodes in graphs.items()}
    write_spec(
        folder,
        "HierarchicalDatasetSpecification",
        split_subgraphs=graphs,
        images_per_class=counts,
        class_names={str(k): name for k, name in enumerate(names)},
    )
    images, labels = write_classes(folder, [4] * 21)
    return images, labels, 44


def write_crop_disease(folder, n=2):
    images, labels = noise(5 * n, 16, 16, 3), np.arange(5).repeat(n)
    for i, k in enumerate(labels):
        save(folder / "dataset" / "train" / f"Leaf___{k}" / f"{i:03}.png", images[i])
        save(folder / "dataset" / "test" / f"Leaf___{k}" / f"{i:03}.png", 0 * images[i])
    return images.transpose(0, 3, 1, 2), labels, None


def write_isic(folder):
    images, labels = noise(14, 16, 16, 3), np.arange(14) % 7
    lines = ["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"]
    for i, k in enumerate(labels):
        path = folder / "ISIC2018_Task3_Training_Input" / f"ISIC_{i:07}.jpg"
        save(path, images[i], "png")  # without loss, so that its pixels are known
        lines.append(f"ISIC_{i:07}," + ",".join(str(float(c == k)) for c in range(7)))
    truth = "ISIC2018_Task3_Training_GroundTruth"
    write_text(folder / truth / f"{truth}.csv", *lines)
    return images.transpose(0, 3, 1, 2), labels, None


def write_chest_x(folder):
    findings = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule"]
    findings += ["Pneumothorax", "No Finding", "Pneumonia", "Hernia", "Mass|Nodule"]
    images, lines = noise(22, 16, 16), ["Image Index,Finding Labels,Follow-up #"]
    for i, array in enumerate(images):
        save(folder / "images" / f"{i:08}_000.png", array)
        lines.append(f"{i:08}_000.png,{findings[i % 11]},0")
    write_text(folder / "Data_Entry_2017.csv", *lines)
    used = np.flatnonzero(np.arange(22) % 11 < 7)
    return images[used, None], used % 11, None


OFFICIAL = {
    "md_aircraft": write_plain,
    "md_omniglot": write_two_levels,
    "md_ilsvrc_2012": write_hierarchy,
    "crop_disease": write_crop_disease,
    "eurosat_cdfsl": write_tiles,
    "isic": write_isic,
    "chest_x": write_chest_x,
    "mnist": write_mnist,
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "stl10": write_stl10,
    "usps": write_usps,
    "blood_mnist": write_medmnist,
    "omniglot": write_omniglot,
    "gtsrb": write_gtsrb,
    "dtd": write_dtd,
    "eurosat": lambda folder: write_tiles(folder / "EuroSAT"),
}


class Command:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.mkdir, (str(self.flag),)


def place(name, root, **options):
    """Write that domain where `domains.load` looks for it; its folder and what it holds."""
    folder = root / (CATALOGUE[name].folder or name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder, OFFICIAL[name](folder, **options)
