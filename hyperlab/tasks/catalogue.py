"""The domains known by name: reader, licence, source, and files with their hashes.

Hashes are those of torchvision 0.24 (`torchvision/datasets/*.py`) and of MedMNIST 3.0.2
(`medmnist/info.py`); those of notMNIST and of the small Omniglot sets are of the files that lie
there. A data set without a published hash is not downloaded; its source says where it comes from.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import formats, meta_dataset, official
from .parts import Part

# A data set: name | classes | licence | address of the official source. Below it, where they apply:
# "idx" or MedMNIST's "npz" and the classes, which files of these kinds do not name; "in" which
# folder, and what to do there; files: "unpack" if it is an archive that is read unpacked, digest,
# addresses to try in this order.
TABLE = """
digits | 10 | CC-BY-4.0 (UCI repository), distributed with scikit-learn | https://archive.ics.uci.edu/dataset/80
mnist | 10 | CC-BY-SA-3.0 (as stated in the Keras documentation) | http://yann.lecun.com/exdb/mnist/
  idx 0; 1; 2; 3; 4; 5; 6; 7; 8; 9
  md5:f68b3c2dcbeaaa9fbdd348bbdeb94873 https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz
    or http://yann.lecun.com/exdb/mnist/train-images-idx3-ubyte.gz
  md5:d53e105ee54ea40749a09fcbcd1e9432 https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz
    or http://yann.lecun.com/exdb/mnist/train-labels-idx1-ubyte.gz
  md5:9fb629c4189551a2d022fa330f9573f3 https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz
    or http://yann.lecun.com/exdb/mnist/t10k-images-idx3-ubyte.gz
  md5:ec29112dd5afa0611ce80d1b7f02629c https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz
    or http://yann.lecun.com/exdb/mnist/t10k-labels-idx1-ubyte.gz
fashion_mnist | 10 | MIT | https://github.com/zalandoresearch/fashion-mnist
  idx T-shirt/top; Trouser; Pullover; Dress; Coat; Sandal; Shirt; Sneaker; Bag; Ankle boot
  md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz
  md5:25c81989df183df01b3e8a0aad5dffbe http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz
  md5:bef4ecab320f06d8554ea6380940ec79 http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz
  md5:bb300cfdad3c16e7a12a480ee83cd310 http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz
kmnist | 10 | CC-BY-SA-4.0 | http://codh.rois.ac.jp/kmnist/
  idx o; ki; su; tsu; na; ha; ma; ya; re; wo
  md5:bdb82020997e1d708af4cf47b453dcf7 http://codh.rois.ac.jp/kmnist/dataset/kmnist/train-images-idx3-ubyte.gz
  md5:e144d726b3acfaa3e44228e80efcd344 http://codh.rois.ac.jp/kmnist/dataset/kmnist/train-labels-idx1-ubyte.gz
  md5:5c965bf0a639b31b8f53240b1b52f4d7 http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-images-idx3-ubyte.gz
  md5:7320c461ea6c1c855c0b718fb2a4b134 http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-labels-idx1-ubyte.gz
notmnist | 10 | MIT (repository davidflanagan/notMNIST-to-MNIST) | http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html
  idx A; B; C; D; E; F; G; H; I; J
  sha256:70ae9e06201f2827e5b0a3781a3169d735dd2efc69996b9eeaee7f10ed4044d7 https://raw.githubusercontent.com/davidflanagan/notMNIST-to-MNIST/17823f4d4a3acd8317c07866702d2eb2ac79c7a0/t10k-images-idx3-ubyte.gz
  sha256:1fa03836e01c862542f8eb83463bb951bebec6fcb3efa28dad748c6b38a9021b https://raw.githubusercontent.com/davidflanagan/notMNIST-to-MNIST/17823f4d4a3acd8317c07866702d2eb2ac79c7a0/t10k-labels-idx1-ubyte.gz
omniglot | 1623 | MIT | https://github.com/brendenlake/omniglot
  md5:68d2efa1b9178cc56df9314c21c6e718 https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_background.zip
  md5:6b91aef0f799c5bb55b94e3f2daec811 https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_evaluation.zip
omniglot_small | 242 | MIT | https://github.com/brendenlake/omniglot
  in omniglot
  sha256:f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4 https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_background_small1.zip
  sha256:3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f https://raw.githubusercontent.com/brendenlake/omniglot/master/python/images_background_small2.zip
cifar10 | 10 | none stated | https://www.cs.toronto.edu/~kriz/cifar.html
  unpack md5:c58f30108f718f92721af3b95e74349a https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
cifar100 | 100 | none stated | https://www.cs.toronto.edu/~kriz/cifar.html
  unpack md5:eb9058c3a382ffc7106e4002c42a8d85 https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz
svhn | 10 | non-commercial use only (its page) | http://ufldl.stanford.edu/housenumbers/
  md5:e26dedcc434d2e4c54c9b2d4a06d8373 http://ufldl.stanford.edu/housenumbers/train_32x32.mat
  md5:eb5a983be6a315427106f1b164d9cef3 http://ufldl.stanford.edu/housenumbers/test_32x32.mat
stl10 | 10 | none stated | https://cs.stanford.edu/~acoates/stl10/
  unpack md5:91f7769df0f17e558f3565bffb0c7dfb http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz
usps | 10 | none stated | https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps
  md5:ec16c51db3855ca6c91edd34d0e9b197 https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.bz2
  md5:8ea070ee2aca1ac39742fdd1ef5ed118 https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.t.bz2
eurosat | 10 | MIT | https://github.com/phelber/EuroSAT
  unpack md5:c8fa014336c82ac7804f0398fcb19387 https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip
    or https://madm.dfki.de/files/sentinel/EuroSAT.zip
gtsrb | 43 | none stated | https://benchmark.ini.rub.de
  unpack md5:513f3c79a4c5141765e10e952eaa2478 https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB-Training_fixed.zip
  unpack md5:c7e4e6327067d32654124b0fe9e82185 https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB_Final_Test_Images.zip
  unpack md5:fe31e9c9270bbcd7b84b7f21a9d9d9e5 https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/GTSRB_Final_Test_GT.zip
dtd | 47 | for research purposes (its page) | https://www.robots.ox.ac.uk/~vgg/data/dtd/
  unpack md5:fff73e5086ae6bdbea199a49dfb8a4c1 https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz
devanagari | 46 | CC-BY-4.0 | https://archive.ics.uci.edu/dataset/389
fruits360 | 65 | CC-BY-SA-4.0 | https://github.com/fruits-360/fruits-360-3-body-problem
clothing | 10 | CC0-1.0 | https://github.com/alexeygrigorev/clothing-dataset-small
plantvillage_apple | 4 | CC-BY-SA-3.0 | https://github.com/spMohanty/PlantVillage-Dataset
sign_digits | 10 | Apache-2.0 | https://github.com/ardamavi/Sign-Language-Digits-Dataset
bccd_cells | 3 | MIT | https://github.com/Shenggan/BCCD_Dataset
quickdraw3 | 3 | CC-BY-4.0 | https://github.com/googlecreativelab/quickdraw-dataset
pneumonia_mnist | 2 | CC-BY-4.0 | https://medmnist.com
  npz normal; pneumonia
  md5:28209eda62fecd6e6a2d98b1501bb15f https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1
path_mnist | 9 | CC-BY-4.0 | https://medmnist.com
  npz adipose; background; debris; lymphocytes; mucus; smooth muscle; normal colon mucosa;
    cancer-associated stroma; colorectal adenocarcinoma epithelium
  md5:a8b06965200029087d5bd730944a56c1 https://zenodo.org/records/10519652/files/pathmnist.npz?download=1
derma_mnist | 7 | CC-BY-NC-4.0 | https://medmnist.com
  npz actinic keratoses and intraepithelial carcinoma; basal cell carcinoma; benign
    keratosis-like lesions; dermatofibroma; melanoma; melanocytic nevi; vascular lesions
  md5:0744692d530f8e62ec473284d019b0c7 https://zenodo.org/records/10519652/files/dermamnist.npz?download=1
oct_mnist | 4 | CC-BY-4.0 | https://medmnist.com
  npz choroidal neovascularization; diabetic macular edema; drusen; normal
  md5:c68d92d5b585d8d81f7112f81e2d0842 https://zenodo.org/records/10519652/files/octmnist.npz?download=1
retina_mnist | 5 | CC-BY-4.0 | https://medmnist.com
  npz 0; 1; 2; 3; 4
  md5:bd4c0672f1bba3e3a89f0e4e876791e4 https://zenodo.org/records/10519652/files/retinamnist.npz?download=1
breast_mnist | 2 | CC-BY-4.0 | https://medmnist.com
  npz malignant; normal or benign
  md5:750601b1f35ba3300ea97c75c52ff8f6 https://zenodo.org/records/10519652/files/breastmnist.npz?download=1
blood_mnist | 8 | CC-BY-4.0 | https://medmnist.com
  npz basophil; eosinophil; erythroblast; immature granulocytes; lymphocyte; monocyte;
    neutrophil; platelet
  md5:7053d0359d879ad8a5505303e11de1dc https://zenodo.org/records/10519652/files/bloodmnist.npz?download=1
tissue_mnist | 8 | CC-BY-4.0 | https://medmnist.com
  npz Collecting Duct, Connecting Tubule; Distal Convoluted Tubule; Glomerular endothelial
    cells; Interstitial endothelial cells; Leukocytes; Podocytes; Proximal Tubule Segments;
    Thick Ascending Limb
  md5:ebe78ee8b05294063de985d821c1c34b https://zenodo.org/records/10519652/files/tissuemnist.npz?download=1
organa_mnist | 11 | CC-BY-4.0 | https://medmnist.com
  npz bladder; femur-left; femur-right; heart; kidney-left; kidney-right; liver; lung-left;
    lung-right; pancreas; spleen
  md5:68e3f8846a6bd62f0c9bf841c0d9eacc https://zenodo.org/records/10519652/files/organamnist.npz?download=1
organc_mnist | 11 | CC-BY-4.0 | https://medmnist.com
  npz bladder; femur-left; femur-right; heart; kidney-left; kidney-right; liver; lung-left;
    lung-right; pancreas; spleen
  md5:b9ceb9546e10131b32923c5bbeaea2b1 https://zenodo.org/records/10519652/files/organcmnist.npz?download=1
organs_mnist | 11 | CC-BY-4.0 | https://medmnist.com
  npz bladder; femur-left; femur-right; heart; kidney-left; kidney-right; liver; lung-left;
    lung-right; pancreas; spleen
  md5:9ab87b696fb54e2a387ebe992d6ed5f1 https://zenodo.org/records/10519652/files/organsmnist.npz?download=1
md_ilsvrc_2012 | 1000 | non-commercial research (its page) | https://www.image-net.org
md_omniglot | 1623 | MIT | https://github.com/brendenlake/omniglot
md_aircraft | 100 | non-commercial research (its page) | https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/
md_cu_birds | 200 | none stated | https://www.vision.caltech.edu/datasets/
md_dtd | 47 | for research purposes (its page) | https://www.robots.ox.ac.uk/~vgg/data/dtd/
md_quickdraw | 345 | CC-BY-4.0 | https://github.com/googlecreativelab/quickdraw-dataset
md_fungi | 1394 | none stated | https://github.com/visipedia/fgvcx_fungi_comp
md_vgg_flower | 102 | none stated | https://www.robots.ox.ac.uk/~vgg/data/flowers/102/
md_traffic_sign | 43 | none stated | https://benchmark.ini.rub.de
md_mscoco | 80 | none stated | https://cocodataset.org
crop_disease | 38 | none stated | https://www.kaggle.com/saroz014/plant-disease/
  in cdfsl/plant-disease: unpack the archive of https://www.kaggle.com/saroz014/plant-disease/
    there
eurosat_cdfsl | 10 | MIT | https://github.com/phelber/EuroSAT
  in cdfsl/EuroSAT: unpack http://madm.dfki.de/files/sentinel/EuroSAT.zip there
isic | 7 | CC-BY-NC-4.0 | https://challenge.isic-archive.com/data/#2018
  in cdfsl/ISIC: unpack ISIC2018_Task3_Training_Input.zip and
    ISIC2018_Task3_Training_GroundTruth.zip there, from
    https://challenge.isic-archive.com/data/#2018
chest_x | 7 | none stated | https://www.kaggle.com/nih-chest-xrays/data
  in cdfsl/chestX: put Data_Entry_2017.csv and all images in one folder `images` there, from
    https://www.kaggle.com/nih-chest-xrays/data
"""
CONVERT = (
    "make it with Meta-Dataset's own script: python -m "
    "meta_dataset.dataset_conversion.convert_datasets_to_records "
    "--dataset={} --records_root=(the folder meta_dataset)"
)


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file to download."""

    name: str  # on disk, in the folder of its data set
    urls: tuple[str, ...]  # the same bytes at each; tried in order
    digest: str  # "md5:..." or "sha256:..."
    unpack: bool = False  # a zip or tar archive that is read unpacked


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a named domain before it is read."""

    n_classes: int
    licence: str
    source: str  # address of the official source
    read: Callable[[Path], Part] | None = None  # reader of the official files
    marks: tuple[str, ...] = ()  # files or folders of which one shows that they are there
    files: tuple[RemoteFile, ...] = ()  # empty: no automatic download
    folder: str = ""  # below the root, if it is not the domain's name
    advice: str = ""  # how to get the files, where it takes more than a download

    @property
    def embedded(self) -> bool:
        """Whether it is part of an installed package: no files at all."""
        return self.read is not None and not self.marks


IDX = "train-images-idx3-ubyte* t10k-images-idx3-ubyte*"
ISIC = official.ISIC
READERS = {  # name -> reader, and its files or folders, see `Entry.marks`
    "digits": (formats.digits, ""),
    "omniglot": (
        official.omniglot,
        "images_background.zip images_evaluation.zip images_background images_evaluation "
        "omniglot28.npz",
    ),
    "omniglot_small": (
        official.omniglot_small,
        "images_background_small1* images_background_small2*",
    ),
    "cifar10": (formats.cifar10, "cifar-10-batches-py"),
    "cifar100": (formats.cifar100, "cifar-100-python/train"),
    "svhn": (formats.svhn, "train_32x32.mat test_32x32.mat"),
    "stl10": (formats.stl10, "stl10_binary"),
    "usps": (formats.usps, "usps.bz2 usps.t.bz2"),
    "eurosat": (official.eurosat, "2750"),
    "gtsrb": (official.gtsrb, "GTSRB/Training GTSRB/Final_Training GTSRB/Final_Test"),
    "dtd": (official.dtd, "dtd/images"),
    "crop_disease": (official.crop_disease, "dataset/train train"),
    "eurosat_cdfsl": (official.eurosat, "2750"),
    "isic": (official.isic, f"{ISIC}_GroundTruth {ISIC}_Input"),
    "chest_x": (official.chest_x, official.CHEST_TABLE),
}


def _reader(name: str, known: dict[str, str]) -> tuple[Callable[[Path], Part] | None, str]:
    if names := known.get("idx"):
        return partial(formats.mnist, class_names=tuple(names.split("; "))), IDX
    if names := known.get("npz"):
        stem, names = name.replace("_", ""), tuple(names.split("; "))
        return partial(formats.medmnist, stem=stem, class_names=names), f"{stem}.npz"
    if name.startswith("md_"):
        at_most = meta_dataset.QUICKDRAW_IMAGES if name == "md_quickdraw" else None
        return partial(meta_dataset.read, at_most=at_most), meta_dataset.SPEC
    return READERS.get(name, (None, ""))


def _entry(block: str) -> tuple[str, Entry]:
    head, *lines = re.split(r"\n  (?=\w)", block)
    name, n_classes, licence, source = head.split(" | ")
    lines = [" ".join(line.split()) for line in lines]
    known = dict(line.split(" ", 1) for line in lines)
    if name.startswith("md_"):
        known["in"] = f"meta_dataset/{name[3:]}: {CONVERT.format(name[3:])}"
    read, marks = _reader(name, known)
    folder, _, advice = known.get("in", "").partition(": ")
    return name, Entry(
        n_classes=int(n_classes),
        licence=licence,
        source=source,
        read=read,
        marks=tuple(marks.split()),
        files=tuple(map(_file, filter(re.compile("unpack|md5|sha256").match, lines))),
        folder=folder,
        advice=advice,
    )


def _file(line: str) -> RemoteFile:
    words = line.split()
    digest, *urls = [word for word in words if word not in ("unpack", "or")]
    name = urls[0].rpartition("/")[2].partition("?")[0]
    return RemoteFile(name=name, urls=tuple(urls), digest=digest, unpack="unpack" in words)


CATALOGUE = dict(map(_entry, re.split(r"\n(?=\w)", TABLE.strip())))
