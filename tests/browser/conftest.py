"""One JupyterLab and one browser for all tests of this folder."""

import importlib.util
import os

import pytest

from tests.browser import lab as driver
from tests.notebooks.files import mirror


def missing() -> str:
    """What a browser test lacks on this machine; empty when it lacks nothing."""
    if importlib.util.find_spec("playwright") is None:
        return "needs playwright: pip install -e .[test]"
    return "" if driver.browser_path() else f"needs one of {driver.NAMES}, or $CHROMIUM"


@pytest.fixture(scope="package")
def lab(tmp_path_factory):
    """A Lab on a copy of the course. Without a browser: skipped, but a failure where CI is set."""
    if lacks := missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacks)
    from playwright.sync_api import sync_playwright

    root = mirror(tmp_path_factory.mktemp("lab")).parent
    with driver.jupyterlab(root) as (address, token), sync_playwright() as play:
        path = driver.browser_path()
        browser = play.chromium.launch(executable_path=path, args=driver.FLAGS)
        yield driver.Lab(browser, address, token, root)
        browser.close()
