"""A table of seconds and memory after the notebooks have run."""

import pytest

from tests.notebooks.files import mirror


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder like notebooks/, with no artefacts and no downloaded data beside it."""
    monkeypatch.delenv("HYPERLAB_DATA", raising=False)
    return mirror(tmp_path)


def pytest_terminal_summary(terminalreporter):
    rows = []
    for reports in terminalreporter.stats.values():
        for report in reports:
            seen = dict(getattr(report, "user_properties", ()))
            if getattr(report, "when", "") == "call" and "notebook" in seen:
                rows.append((seen["notebook"], seen["seconds"], seen["peak_bytes"]))
    if rows:
        terminalreporter.section("notebooks at smoke scale")
    for name, seconds, peak_bytes in sorted(rows):
        terminalreporter.line(f"{name:40} {seconds:6.1f} s {peak_bytes / 2**20:6.0f} MiB")
