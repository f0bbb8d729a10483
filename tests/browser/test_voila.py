"""The stepper as a page of its own, as `make app` serves it."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.browser import lab as driver

pytestmark = pytest.mark.browser


@pytest.fixture
def address(tmp_path):
    """Where the page is; the server ends with the test, and leaves nothing behind."""
    script = driver.ROOT / "data_scripts" / "serve_stepper.py"
    options = ["--no-browser", "--port", str(driver.free_port())]
    here = {**os.environ, "TMPDIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    server = subprocess.Popen(
        [sys.executable, str(script), *options],
        env=here,
        cwd=driver.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    for line in server.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+/\?token=\w+", line):
            break
    yield found[0]
    server.send_signal(signal.SIGTERM)
    assert server.communicate(timeout=30) and not list(tmp_path.glob("stepper_*"))


def points(page, name="Jacobian flow"):
    return page.points(0, page.traces().index(name))


def test_step_draws_a_longer_path_and_nothing_leaves_the_machine(lab, address):
    tab = lab.browser.new_page(viewport={"width": 1280, "height": 1500})
    page = driver.Page(tab, address)
    tab.goto(address, timeout=180_000)
    page.until(lambda: page.n_plots() == 1, timeout_s=180)
    tab.wait_for_timeout(
        2_000
    )  # what is pressed while plotly draws at first, it does not see
    assert (points(page), points(page, "fine-tuning")) == (1, 11)
    page.press("Step")
    page.until(lambda: points(page) == 2)
    page.until(lambda: "1 of 40 euler steps" in page.text())
    page.press("Run")
    page.until(lambda: points(page) > 4)
    page.screenshot("voila")
    assert "import" not in page.text()  # the page shows no code
    assert not page.external and not page.console_errors
    tab.close()
