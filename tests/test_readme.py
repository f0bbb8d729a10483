"""The README names what is there, and its example runs."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "results/README.md")
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
LINK = re.compile(r"\]\(([^)]+)\)")
NUMBER = re.compile(r"[+-]?\d+\.\d+ ± \d+\.\d+|\d+\.\d+ %")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def section(title):
    """A section of the README, its heading left out."""
    return re.search(rf"(?ms)^## {title}$(.*?)(?=^## )", README)[1]


def anchor(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


LINKS = sorted(
    (page, link)
    for page in PAGES
    for link in set(LINK.findall((ROOT / page).read_text(encoding="utf-8")))
    if "://" not in link
)


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_somewhere(page, link):
    target, _, place = link.partition("#")
    found = (ROOT / page).parent / target if target else ROOT / page
    assert found.exists()
    headings = (
        re.findall(r"(?m)^#+ (.*)$", found.read_text(encoding="utf-8")) if place else []
    )
    assert not place or place in map(anchor, headings)


def test_the_table_lists_every_notebook_and_no_other():
    listed = re.findall(r"\(notebooks/(\w+\.ipynb)\)", README)
    table = section("The course")
    assert re.findall(r"(?m)^\|.*\(notebooks/(\w+\.ipynb)\)", table) == [
        path.name for path in NOTEBOOKS
    ]
    assert set(listed) == {path.name for path in NOTEBOOKS}


def row(path):
    """What the table of the README says about a notebook, from the notebook's first cell."""
    head = nbformat.read(path, as_version=4).cells[0].source
    title = head.splitlines()[0].removeprefix("# ")
    question = re.search(r"(?s)\*\*Question\.\*\* (.*?)\n\n", head)[1]
    minutes = re.search(r"\*\*Minutes:\*\* (\d+)", head)[1]
    needs = re.search(r"\*\*Needs:\*\* (.*)", head)[1]
    first = re.split(r"[;:.]", needs)[0]
    room = re.search(r"[\d.]+ [MG]i?B of (memory|disk)", needs)[0]
    cells = (f"[{title}](notebooks/{path.name})", " ".join(question.split()), minutes)
    return f"| {' | '.join(cells)} | {first}; {room} |"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_question_minutes_and_needs_are_those_of_the_notebook(path):
    assert row(path) in README.splitlines()


def claims():
    """Rows and points of the sections about what is proven and what is not, that have numbers."""
    rows = re.findall(r"(?m)^\|.*$", section("What is proven"))
    parts = rows + re.split(r"(?m)^- ", section("What is not"))
    parts = (" ".join(part.split()) for part in parts)
    return [part for part in parts if NUMBER.search(part)]


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: claim[:40])
def test_a_claims_numbers_stand_in_a_file_that_it_links(claim):
    files = [(ROOT / link).read_text(encoding="utf-8") for link in LINK.findall(claim)]
    for number in NUMBER.findall(claim):
        assert any(re.search(rf"(?<![\d.]){re.escape(number)}", text) for text in files), (
            number
        )


def test_the_caption_has_the_numbers_of_the_picture():
    found = json.loads((ROOT / "results/stepper.json").read_text(encoding="utf-8"))
    caption = re.search(r"(?ms)^\*One task of .*?\*$", README)[0]
    said = [int(number) for number in re.findall(r"(\d+) %", caption)]
    names = ["before", "after", "fine_tuning", "ten_euler_steps", "eight_chebyshev_steps"]
    assert said == [round(100 * found[name]) for name in names]
    assert f"{found['steps']} steps" in caption and f"{found['n_query']} query" in caption
    assert (found["scale"], found["command"]) == (
        "laptop",
        "python data_scripts/draw_figures.py",
    )


def test_the_badges_say_what_pyproject_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    oldest = project["requires-python"].removeprefix(">=")
    badges = {
        path.stem: path.read_text(encoding="utf-8")
        for path in (ROOT / ".github/badges").glob("*")
    }
    assert f">{oldest} or newer<" in badges["python"]
    assert f">{project['license']}<" in badges["licence"]


def test_the_citation_is_of_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
        "project"
    ]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert f"version = {{{project['version']}}}" in README


def test_every_make_command_is_a_target():
    targets = set(
        re.findall(
            r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    assert set(re.findall(r"[`\n]make (\w+)", ALL)) <= targets


def test_the_example_runs():
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
