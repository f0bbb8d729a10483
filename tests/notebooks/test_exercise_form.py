"""The form that every exercise of the course has, beyond its three cells (test_form.py).

The markdown cell before the stub ends with the exercise:

    ## Exercise: what it is called        (or ### where it stands inside a section; or numbered)

    *Easy, 5 minutes.* What to do. (Easy, Medium or Hard)

    <details><summary>Hint</summary> ... </details>        leads, without a line of the solution

and the cell with the solution holds nothing behind its </details>: it is the cell that the
reader edition replaces.
"""

import ast
import math
import re

import nbformat
import pytest
import torch
from course import runner
from course.runner import tags
from nbformat.v4 import new_markdown_cell, new_notebook
from torch.nn import functional as F

from hyperlab import exercises
from hyperlab.evaluation import tables
from tests.notebooks.files import NOTEBOOKS, each_notebook
from tests.notebooks.test_form import HIDDEN, STUB, cell, plain_lines

HEADING = re.compile(r"^#{2,3} Exercise( \d+)?: [^\n]+\n\n", re.MULTILINE)
EFFORT = re.compile(r"\*(Easy|Medium|Hard), [1-9]\d* minutes\.\* \S")
HINT = re.compile(r"<details><summary>Hint</summary>\n(.+?)</details>", re.DOTALL)
HEAD = (
    "## Exercise: a step\n\n*Easy, 5 minutes.* Go on by one.\n\n"
    "<details><summary>Hint</summary>\n\nWhich sign leads on?\n\n</details>"
)
GAINS = dict.fromkeys(["notmnist", "usps", "fashion_mnist"], 1.0) | dict.fromkeys(
    "abcd", 0.0
)


def asked(notebook):
    """(the markdown before the stub from its exercise's heading on, stub, check, solution)."""
    before = ""
    for place, found in enumerate(notebook.cells):
        if "exercise" in tags(found):
            heads = list(HEADING.finditer(before))
            task = before[heads[-1].start() :] if heads else ""
            yield task, *notebook.cells[place : place + 3]
        before = found.source if found.cell_type == "markdown" else before


def has_two_exercises(notebook):
    if (n := len(list(asked(notebook)))) < 2:
        yield f"has {n} exercises; two is the least"


def heads_each_exercise(notebook):
    for task, stub, *_ in asked(notebook):
        if not task:
            yield f"no '## Exercise: name' in the markdown before {stub.source!r}"


def names_difficulty_and_minutes(notebook):
    for task, stub, *_ in asked(notebook):
        if not EFFORT.match(HEADING.sub("", task, count=1)):
            yield f"no '*Easy, 5 minutes.*' before {stub.source!r}"


def leads_with_a_hint(notebook):
    for task, stub, _, hidden in asked(notebook):
        hints = HINT.findall(task)
        if len(hints) != 1 or len(hints[0].split()) < 4:
            yield f"no <details><summary>Hint</summary> before {stub.source!r}"
        written = set(plain_lines(runner.solution(hidden))) - set(plain_lines(stub.source))
        answers = {line.strip().removeprefix("return ") for line in written}
        if any(len(said) > 4 and said in hint for said in answers for hint in hints):
            yield f"gives the answer to {stub.source!r} away"


def hides_the_solution_alone(notebook):
    for _, stub, _, hidden in asked(notebook):
        if not hidden.source.rstrip().endswith("</details>"):
            yield f"has text behind the solution of {stub.source!r}"


RULES = [
    has_two_exercises,
    heads_each_exercise,
    names_difficulty_and_minutes,
    leads_with_a_hint,
    hides_the_solution_alone,
]


@each_notebook
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_notebook(path, rule):
    assert not list(rule(nbformat.read(path, as_version=4)))


def faults(*, head=HEAD, hidden=HIDDEN, times=2):
    """The names of the rules that a notebook breaks whose exercises read like that."""
    cells = []
    for _ in range(times):
        cells += [new_markdown_cell(head), cell(STUB, "exercise")]
        cells += [cell("exercises.check_step(step)", "check"), new_markdown_cell(hidden)]
    notebook = new_notebook(cells=cells)
    return [rule.__name__ for rule in RULES if list(rule(notebook))]


def test_the_model_exercise_breaks_no_rule():
    assert faults() == []


BROKEN = [
    ({"times": 1}, ["has_two_exercises"]),
    ({"head": HEAD.replace("## E", "**E")}, [rule.__name__ for rule in RULES[1:4]]),
    ({"head": HEAD.replace("Easy", "Simple")}, ["names_difficulty_and_minutes"]),
    ({"head": HEAD.replace("5 minutes", "soon")}, ["names_difficulty_and_minutes"]),
    ({"head": HEAD.replace("Hint", "Answer")}, ["leads_with_a_hint"]),
    ({"head": HEAD.replace("Which sign leads on?", "")}, ["leads_with_a_hint"]),
    ({"head": HEAD.replace("Which sign", "With x + 1")}, ["leads_with_a_hint"]),
    ({"hidden": HIDDEN + "\n\nSo it goes on."}, ["hides_the_solution_alone"]),
]


@pytest.mark.parametrize(("change", "rules"), BROKEN)
def test_an_exercise_that_breaks_a_rule_is_found(change, rules):
    assert faults(**change) == rules


EXERCISES = [
    pytest.param(stub.source, check.source, runner.solution(hidden), id=check.source[10:])
    for path in NOTEBOOKS
    for _, stub, check, hidden in asked(nbformat.read(path, as_version=4))
]


def said(source, check):
    """The verdict of a check cell after a stub or a solution has run."""
    names = {"torch": torch, "F": F, "math": math, "tables": tables}
    names |= {"exercises": exercises, "gains": GAINS}
    exec(source, names)
    return repr(eval(check, names))


@pytest.mark.parametrize(("stub", "check", "solved"), EXERCISES)
def test_a_stub_hears_what_was_expected_and_its_solution_passes(stub, check, solved):
    missing = said(stub, check)
    assert re.match(r"not yet: .*found .*expected (?!\.)\S", missing), missing
    assert said(solved, check).startswith("passed: ")


def wrong(check):
    """An answer of the right form, and not the right one."""
    if check == "check_most_helped":
        return ("a", "b", "c"), GAINS
    return 1.5 if check in {"check_largest_step", "check_fewest_steps"} else lambda *_: 1.5


@pytest.mark.parametrize("check", [n for n in exercises.__all__ if n.startswith("check_")])
def test_a_wrong_answer_hears_what_was_expected_and_what_came(check):
    verdict = repr(getattr(exercises, check)(wrong(check)))
    assert re.match(r"not yet: found \S.*, expected \S", verdict), verdict


def test_every_check_belongs_to_an_exercise():
    used = {
        ast.unparse(ast.parse(param.values[1]).body[0].value.func) for param in EXERCISES
    }
    checks = {n for n in exercises.__all__ if n.startswith("check_")}
    assert used == {f"exercises.{name}" for name in checks}
