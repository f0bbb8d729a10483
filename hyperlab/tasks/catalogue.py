"""The domains known by name: reader, licence, source, and files with their hashes.

Hashes are those of torchvision 0.24 (`torchvision/datasets/*.py`) and of MedMNIST 3.0.2
(`medmnist/info.py`), unless an entry says otherwise. A data set without a published hash is
not downloaded; its `source` says where it comes from.
"""

from functools import partial

from . import cdfsl, cifar, formats, meta_dataset, pictures
from .entries import NONE_STATED, Entry, RemoteFile

TEN = tuple("0123456789")
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def _idx(addresses: tuple[str, ...], **digests: str) -> tuple[RemoteFile, ...]:
    files = []
    for stem, digest in digests.items():
        name = (
            stem.replace("_", "-")
            + ("-idx3" if "images" in stem else "-idx1")
            + "-ubyte.gz"
        )
        urls = tuple(address + name for address in addresses)
        files.append(RemoteFile(name=name, urls=urls, digest=digest))
    return tuple(files)


def _mnist_like(
    *, source: str, licence: str, names: tuple[str, ...], **files: object
) -> Entry:
    return Entry(
        n_classes=10,
        licence=licence,
        source=source,
        read=partial(formats.mnist, class_names=names),
        marks=("train-images-idx3-ubyte*", "t10k-images-idx3-ubyte*"),
        files=_idx(**files),
    )


def _archive(url: str, md5: str, *mirrors: str) -> RemoteFile:
    name = url.rpartition("/")[2]
    return RemoteFile(name=name, urls=(url, *mirrors), digest=f"md5:{md5}", unpack=True)


def _plain(address: str, **digests: str) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name=name, urls=(address + name,), digest=digest)
        for name, digest in digests.items()
    )


def _pack(n_classes: int, licence: str, source: str) -> Entry:
    return Entry(n_classes=n_classes, licence=licence, source=source)


def _medmnist(stem: str, md5: str, names: str, licence: str = "CC-BY-4.0") -> Entry:
    address = f"https://zenodo.org/records/10519652/files/{stem}.npz?download=1"
    names = tuple(names.split("; "))
    return Entry(
        n_classes=len(names),
        licence=licence,
        source="https://medmnist.com",
        read=partial(formats.medmnist, stem=stem, class_names=names),
        marks=(f"{stem}.npz",),
        files=(RemoteFile(name=f"{stem}.npz", urls=(address,), digest=f"md5:{md5}"),),
    )


ORGANS = (
    "bladder; femur-left; femur-right; heart; kidney-left; kidney-right; liver; lung-left; "
    "lung-right; pancreas; spleen"
)
OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
NOTMNIST = (
    "https://raw.githubusercontent.com/davidflanagan/notMNIST-to-MNIST/"
    "17823f4d4a3acd8317c07866702d2eb2ac79c7a0/"
)
LIBSVM = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/"
GTSRB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"

CATALOGUE: dict[str, Entry] = {
    "digits": Entry(
        n_classes=10,
        licence="CC-BY-4.0 (UCI repository), distributed with scikit-learn",
        source="https://archive.ics.uci.edu/dataset/80",
        read=formats.digits,
        embedded=True,
    ),
    "mnist": _mnist_like(
        source="http://yann.lecun.com/exdb/mnist/",
        licence="CC-BY-SA-3.0 (as stated in the Keras documentation)",
        names=TEN,
        addresses=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        train_images="md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
        train_labels="md5:d53e105ee54ea40749a09fcbcd1e9432",
        t10k_images="md5:9fb629c4189551a2d022fa330f9573f3",
        t10k_labels="md5:ec29112dd5afa0611ce80d1b7f02629c",
    ),
    "fashion_mnist": _mnist_like(
        source="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        names=FASHION,
        addresses=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        train_images="md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        train_labels="md5:25c81989df183df01b3e8a0aad5dffbe",
        t10k_images="md5:bef4ecab320f06d8554ea6380940ec79",
        t10k_labels="md5:bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "kmnist": _mnist_like(
        source="http://codh.rois.ac.jp/kmnist/",
        licence="CC-BY-SA-4.0",
        names=KANA,
        addresses=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        train_images="md5:bdb82020997e1d708af4cf47b453dcf7",
        train_labels="md5:e144d726b3acfaa3e44228e80efcd344",
        t10k_images="md5:5c965bf0a639b31b8f53240b1b52f4d7",
        t10k_labels="md5:7320c461ea6c1c855c0b718fb2a4b134",
    ),
    "notmnist": _mnist_like(  # the test part only; hashes of that repository's files
        source="http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html",
        licence="MIT (repository davidflanagan/notMNIST-to-MNIST)",
        names=tuple("ABCDEFGHIJ"),
        addresses=(NOTMNIST,),
        t10k_images="sha256:"
        "70ae9e06201f2827e5b0a3781a3169d735dd2efc69996b9eeaee7f10ed4044d7",
        t10k_labels="sha256:"
        "1fa03836e01c862542f8eb83463bb951bebec6fcb3efa28dad748c6b38a9021b",
    ),
    "omniglot": Entry(
        n_classes=1623,
        licence="MIT",
        source="https://github.com/brendenlake/omniglot",
        read=pictures.omniglot,
        marks=(
            "images_background.zip",
            "images_evaluation.zip",
            "images_background",
            "images_evaluation",
            "omniglot28.npz",
        ),
        files=_plain(
            OMNIGLOT,
            **{
                "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
                "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
            },
        ),
    ),
    "omniglot_small": Entry(  # hashes of the files of that repository
        n_classes=242,
        licence="MIT",
        source="https://github.com/brendenlake/omniglot",
        read=pictures.omniglot_small,
        marks=("images_background_small1*", "images_background_small2*"),
        folder="omniglot",
        files=_plain(
            OMNIGLOT,
            **{
                "images_background_small1.zip": "sha256:"
                "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
                "images_background_small2.zip": "sha256:"
                "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
            },
        ),
    ),
    "cifar10": Entry(
        n_classes=10,
        licence=NONE_STATED,
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        read=cifar.cifar10,
        marks=("cifar-10-batches-py",),
        files=(
            _archive(
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "c58f30108f718f92721af3b95e74349a",
            ),
        ),
    ),
    "cifar100": Entry(
        n_classes=100,
        licence=NONE_STATED,
        source="https://www.cs.toronto.edu/~kriz/cifar.html",
        read=cifar.cifar100,
        marks=("cifar-100-python/train",),
        files=(
            _archive(
                "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
                "eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
    ),
    "svhn": Entry(
        n_classes=10,
        licence="non-commercial use only (its page)",
        source="http://ufldl.stanford.edu/housenumbers/",
        read=formats.svhn,
        marks=("train_32x32.mat", "test_32x32.mat"),
        files=_plain(
            "http://ufldl.stanford.edu/housenumbers/",
            **{
                "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
                "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
            },
        ),
    ),
    "stl10": Entry(
        n_classes=10,
        licence=NONE_STATED,
        source="https://cs.stanford.edu/~acoates/stl10/",
        read=formats.stl10,
        marks=("stl10_binary",),
        files=(
            _archive(
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "91f7769df0f17e558f3565bffb0c7dfb",
            ),
        ),
    ),
    "usps": Entry(
        n_classes=10,
        licence=NONE_STATED,
        source=f"{LIBSVM[:-1]}.html#usps",
        read=formats.usps,
        marks=("usps.bz2", "usps.t.bz2"),
        files=_plain(
            LIBSVM,
            **{
                "usps.bz2": "md5:ec16c51db3855ca6c91edd34d0e9b197",
                "usps.t.bz2": "md5:8ea070ee2aca1ac39742fdd1ef5ed118",
            },
        ),
    ),
    "eurosat": Entry(
        n_classes=10,
        licence="MIT",
        source="https://github.com/phelber/EuroSAT",
        read=pictures.eurosat,
        marks=("2750",),
        files=(
            _archive(
                "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                "c8fa014336c82ac7804f0398fcb19387",
                "https://madm.dfki.de/files/sentinel/EuroSAT.zip",
            ),
        ),
    ),
    "gtsrb": Entry(
        n_classes=43,
        licence=NONE_STATED,
        source="https://benchmark.ini.rub.de",
        read=pictures.gtsrb,
        marks=("GTSRB/Training", "GTSRB/Final_Training", "GTSRB/Final_Test"),
        files=(
            _archive(
                f"{GTSRB}GTSRB-Training_fixed.zip", "513f3c79a4c5141765e10e952eaa2478"
            ),
            _archive(
                f"{GTSRB}GTSRB_Final_Test_Images.zip",
                "c7e4e6327067d32654124b0fe9e82185",
            ),
            _archive(f"{GTSRB}GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5"),
        ),
    ),
    "dtd": Entry(
        n_classes=47,
        licence="for research purposes (its page)",
        source="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        read=pictures.dtd,
        marks=("dtd/images",),
        files=(
            _archive(
                "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                "fff73e5086ae6bdbea199a49dfb8a4c1",
            ),
        ),
    ),
    "devanagari": _pack(46, "CC-BY-4.0", "https://archive.ics.uci.edu/dataset/389"),
    "fruits360": _pack(
        65, "CC-BY-SA-4.0", "https://github.com/fruits-360/fruits-360-3-body-problem"
    ),
    "clothing": _pack(
        10, "CC0-1.0", "https://github.com/alexeygrigorev/clothing-dataset-small"
    ),
    "plantvillage_apple": _pack(
        4, "CC-BY-SA-3.0", "https://github.com/spMohanty/PlantVillage-Dataset"
    ),
    "sign_digits": _pack(
        10, "Apache-2.0", "https://github.com/ardamavi/Sign-Language-Digits-Dataset"
    ),
    "bccd_cells": _pack(3, "MIT", "https://github.com/Shenggan/BCCD_Dataset"),
    "quickdraw3": _pack(
        3, "CC-BY-4.0", "https://github.com/googlecreativelab/quickdraw-dataset"
    ),
    "pneumonia_mnist": _medmnist(
        "pneumoniamnist", "28209eda62fecd6e6a2d98b1501bb15f", "normal; pneumonia"
    ),
    "path_mnist": _medmnist(
        "pathmnist",
        "a8b06965200029087d5bd730944a56c1",
        "adipose; background; debris; lymphocytes; mucus; smooth muscle; "
        "normal colon mucosa; cancer-associated stroma; "
        "colorectal adenocarcinoma epithelium",
    ),
    "derma_mnist": _medmnist(
        "dermamnist",
        "0744692d530f8e62ec473284d019b0c7",
        "actinic keratoses and intraepithelial carcinoma; basal cell carcinoma; "
        "benign keratosis-like lesions; dermatofibroma; melanoma; melanocytic nevi; "
        "vascular lesions",
        licence="CC-BY-NC-4.0",
    ),
    "oct_mnist": _medmnist(
        "octmnist",
        "c68d92d5b585d8d81f7112f81e2d0842",
        "choroidal neovascularization; diabetic macular edema; drusen; normal",
    ),
    "retina_mnist": _medmnist(
        "retinamnist", "bd4c0672f1bba3e3a89f0e4e876791e4", "0; 1; 2; 3; 4"
    ),
    "breast_mnist": _medmnist(
        "breastmnist", "750601b1f35ba3300ea97c75c52ff8f6", "malignant; normal or benign"
    ),
    "blood_mnist": _medmnist(
        "bloodmnist",
        "7053d0359d879ad8a5505303e11de1dc",
        "basophil; eosinophil; erythroblast; immature granulocytes; lymphocyte; monocyte; "
        "neutrophil; platelet",
    ),
    "tissue_mnist": _medmnist(
        "tissuemnist",
        "ebe78ee8b05294063de985d821c1c34b",
        "Collecting Duct, Connecting Tubule; Distal Convoluted Tubule; "
        "Glomerular endothelial cells; Interstitial endothelial cells; Leukocytes; "
        "Podocytes; Proximal Tubule Segments; Thick Ascending Limb",
    ),
    "organa_mnist": _medmnist("organamnist", "68e3f8846a6bd62f0c9bf841c0d9eacc", ORGANS),
    "organc_mnist": _medmnist("organcmnist", "b9ceb9546e10131b32923c5bbeaea2b1", ORGANS),
    "organs_mnist": _medmnist("organsmnist", "9ab87b696fb54e2a387ebe992d6ed5f1", ORGANS),
    **meta_dataset.ENTRIES,
    **cdfsl.ENTRIES,
}
