"""What the machine lacks is skipped and said; nothing global is changed."""

import os
from pathlib import Path

import jaxtyping
import pytest
import torch


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes")


def pytest_collection_modifyitems(config, items):
    """Skip what needs time, an accelerator or real images that are not here; browser last.

    The browser's driver keeps an event loop running, in which no test could start its own.
    """
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
    root = os.environ.get("HYPERLAB_DATA")
    missing = {
        "slow": not config.getoption("--slow") and "takes minutes; run with --slow",
        "gpu": not torch.cuda.is_available() and "needs an accelerator",
        "data": not (root and Path(root).is_dir()) and "set HYPERLAB_DATA to a data root",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """As for a user: only tests read the shape annotations, and here not even they."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
