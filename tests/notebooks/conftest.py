"""A folder of notebooks for tests that run or change them."""

import pytest

from tests.notebooks.files import mirror


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder like notebooks/, with no artefacts and no downloaded data beside it."""
    monkeypatch.delenv("HYPERLAB_DATA", raising=False)
    return mirror(tmp_path)
