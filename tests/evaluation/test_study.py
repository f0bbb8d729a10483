"""A study's file: goes on where it stopped, refuses what does not belong, prints what it holds."""

import json
from pathlib import Path

import compare_generators
import compare_starts
import finetune_through
import pytest
import retrieve_networks

from hyperlab.base import ConfigError, DataMissingError
from hyperlab.evaluation import tables

RESULTS = Path(__file__).parents[2] / "results"
STUDIES = {
    "generators": compare_generators.STUDY,
    "retrieval": retrieve_networks.STUDY,
    "starts": compare_starts.STUDY,
    "through": finetune_through.STUDY,
}
PARTS = {
    "networks": "a",
    "data": {"digits": {"images": "b"}},
    "seed": 0,
    "config": {"n": 1},
}
OTHER = {**PARTS, "data": {"digits": {"images": "c"}}}
every_study = pytest.mark.parametrize(("name", "study"), STUDIES.items(), ids=STUDIES)


@pytest.fixture
def begun(name, study, tmp_path):
    """The committed file as if its rows depended on PARTS, and these rows."""
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    for row in content[study.part].values():
        row["made_of"] = PARTS
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path, content[study.part]


def measured(row):
    """What a study's script measures of a row."""
    return {key: row[key] for key in row if key not in ("about", "made_of")}


def no_work(*args):
    pytest.fail("the work began")


@every_study
def test_what_is_there_of_just_this_is_not_measured_again(begun, name, study):
    path, rows = begun
    before = path.read_bytes()
    study.run(path, dict.fromkeys(rows, PARTS), no_work, {})
    assert path.read_bytes() == before
    table = path.with_suffix(".md").read_text(encoding="utf-8")
    assert table == (RESULTS / f"{name}.md").read_text(encoding="utf-8")


@every_study
def test_every_row_is_kept_as_soon_as_it_is_measured(begun, name, study):
    path, rows = begun
    row = next(iter(rows.values()))
    new = measured(row)

    def measure(key):
        if key == "last":
            raise KeyboardInterrupt
        return new

    with pytest.raises(KeyboardInterrupt):
        study.run(path, dict.fromkeys(("x", "last"), PARTS), measure, row["about"])
    found = study.begun(path)
    assert [*found] == [*rows, "x"] and found["x"] == row


@every_study
def test_rows_of_other_data_are_measured_anew_or_refused(begun, name, study, caplog):
    path, rows = begun
    key = next(iter(rows))
    if study.joint:
        with pytest.raises(ConfigError, match="data.digits.images: was 'b'.*another --out"):
            study.run(path, {"new": OTHER}, no_work, {})
        return
    study.run(path, {key: OTHER}, lambda _: measured(rows[key]), rows[key]["about"])
    assert f"{key} is measured anew: data.digits.images: was 'b', is 'c'" in caplog.text
    with pytest.raises(ConfigError, match="data.digits: was .*take another --out"):
        study.run(path, {key: PARTS | {"data": {}}}, no_work, {}, again=no_work)


@every_study
def test_a_file_of_another_script_is_refused(tmp_path, name, study):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"tasks": []}), encoding="utf-8")
    with pytest.raises(ConfigError, match="another script wrote it; take another --out"):
        study.run(path, {"x": PARTS}, no_work, {})


def test_a_table_that_is_not_there_is_named_with_its_script(tmp_path):
    with pytest.raises(
        DataMissingError, match=r"no table .*x.json; run: .*compare_heads\.py"
    ):
        tables.written(tmp_path / "x.json", "compare_heads.py")
