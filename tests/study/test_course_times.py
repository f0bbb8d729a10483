"""Seconds and memory of the course are kept, scale beside scale."""

import json
from pathlib import Path

from hyperlab.study import course_times
from hyperlab.study.course import Run


def run(name, seconds, *faults):
    told = {"seconds": seconds, "cpu_seconds": seconds / 2, "peak_bytes": 700 * 2**20}
    return Run(name=name, executed=Path(f"{name}.ipynb"), faults=faults, **told)


def test_a_later_run_replaces_its_own_scale_alone(tmp_path):
    path = tmp_path / "course.json"
    course_times.keep(path, [run("01_b", 20.0), run("00_a", 10.0)], "laptop")
    course_times.keep(path, [run("00_a", 4.0)], "smoke")
    course_times.keep(path, [run("00_a", 8.0)], "laptop")
    found = json.loads(path.read_text())
    seconds = {
        name: {at: r["seconds"] for at, r in rows.items()} for name, rows in found.items()
    }
    assert seconds == {"00_a": {"laptop": 8.0, "smoke": 4.0}, "01_b": {"laptop": 20.0}}
    assert list(found) == ["00_a", "01_b"]
    table = path.with_suffix(".md").read_text()
    assert "| 00_a | 4 | 2 | 700 | 8 | 4 | 700 |" in table
    assert "| 01_b | - | - | - | 20 | 10 | 700 |" in table


def test_a_run_with_a_fault_leaves_what_was_there(tmp_path):
    path = tmp_path / "course.json"
    course_times.keep(path, [run("00_a", 10.0)], "laptop")
    course_times.keep(path, [run("00_a", 3.0, "cell 4: ValueError: no")], "laptop")
    assert json.loads(path.read_text())["00_a"]["laptop"]["seconds"] == 10.0
