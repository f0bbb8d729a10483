"""CDFSL's four domains are read as its own code reads them."""

import pytest

from hyperlab.base import ArtifactError, DataMissingError
from hyperlab.tasks import domains, official
from hyperlab.tasks.roles import CDFSL
from tests.tasks.miniatures import place

TRUTH = "ISIC2018_Task3_Training_GroundTruth"


def test_only_the_training_part_of_crop_disease_counts(tmp_path):
    place("crop_disease", tmp_path)
    domain = domains.load("crop_disease", root=tmp_path, size=16)
    assert domain.counts.tolist() == [2] * 5
    assert (domain.images.float().mean((1, 2, 3)) > 50).all()  # the test part is black


def test_chest_images_have_one_finding_of_the_seven(tmp_path):
    place("chest_x", tmp_path)
    domain = domains.load("chest_x", root=tmp_path, size=16)
    assert domain.class_names == official.FINDINGS
    assert "Pneumonia" not in domain.class_names
    assert domain.counts.tolist() == [2] * 7


def test_lesions_are_the_columns_of_the_table(tmp_path):
    place("isic", tmp_path)
    domain = domains.load("isic", root=tmp_path, size=16)
    assert domain.class_names == ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


WRONG_TABLES = {
    r"lacks the columns \['VASC'\]": "image,MEL,NV,BCC,AKIEC,BKL,DF\na,1,0,0,0,0,0\n",
    r"a is marked \['MEL', 'NV'\]; want one": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\n"
    "a,1.0,1.0,0,0,0,0,0\n",
    r"a is marked \[\]; want one": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,0,0,0,0,0,0,0\n",
    "could not convert string": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,yes,0,0,0,0,0,0\n",
    "incomplete or foreign": "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\na,1.0,0\n",
}


@pytest.mark.parametrize("message", WRONG_TABLES)
def test_wrong_table_of_lesions_says_what_is_wrong(tmp_path, message):
    folder, _ = place("isic", tmp_path)
    (folder / TRUTH / f"{TRUTH}.csv").write_text(WRONG_TABLES[message], encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        domains.load("isic", root=tmp_path)


def test_wrong_table_of_findings_names_its_columns(tmp_path):
    folder, _ = place("chest_x", tmp_path)
    (folder / "Data_Entry_2017.csv").write_text(
        "image;label\n0.png;Mass\n", encoding="utf-8"
    )
    with pytest.raises(ArtifactError, match=r"lacks the columns \['Image Index', 'Finding"):
        domains.load("chest_x", root=tmp_path)


@pytest.mark.parametrize("name", CDFSL)
def test_missing_domain_says_where_it_goes_and_where_it_comes_from(tmp_path, name):
    with pytest.raises(DataMissingError, match=r"cdfsl.* there") as missing:
        domains.load(name, root=tmp_path)
    assert "http" in str(missing.value)
