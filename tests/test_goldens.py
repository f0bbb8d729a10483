"""Seeded training gives what it gave: bit for bit where the goldens were recorded."""

import json

import pytest

from tests import goldens

RECORD = json.loads(goldens.FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def measured():
    return goldens.measured()


def test_there_is_a_golden_for_everything_that_is_measured(measured):
    assert list(measured) == list(RECORD["goldens"])


@pytest.mark.parametrize("name", RECORD["goldens"])
def test_seeded_training_gives_what_it_gave(measured, name):
    digest, size = RECORD["goldens"][name]
    if goldens.machine() == RECORD["machine"]:
        assert measured[name][0] == digest
    assert measured[name][1] == pytest.approx(size, rel=1e-2)
