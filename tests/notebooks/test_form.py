"""The form that every notebook of the course has.

A notebook is notebooks/NN_topic.ipynb, its outputs stripped, its cells in this order:

1.  markdown: `# NN Title`, then **Question.** (ends with ?), **Objectives.** and a list,
    **Minutes:** and a number, **Needs:**
2.  code tagged `parameters`: sets `scale` and `seed` and nothing else
3.  sections; at least one `assert_close` shows that the package does what was done by hand
4.  exercises, at least two, each announced at the end of a markdown cell (heading, difficulty
    and minutes, what to do, hint; test_exercise_form.py) and of three cells in a row:
    code tagged `exercise`: a stub that runs, with `...` where the reader writes;
    code tagged `check`: one call of `exercises.check_*`, which returns a verdict that reads
    "passed: ..." or "not yet: ..." and raises nothing of its own;
    markdown `<details><summary>Solution</summary>` with one python block that replaces the
    stub and keeps each of its lines that has no `...`
5.  markdown `## What this does not show`
6.  markdown `## Next`, the last cell: links the next notebook (the last one: ../README.md)

Golden cells, at least one, carry the tags `nbval-check-output` and `keep_output`, print
rounded numbers, and keep what they print at smoke scale, seed 0, as stored by
`run_notebooks.py --golden`. `make format` strips and formats.

The title of an axis takes the number of units from `n_units`; `n` counts tasks, of one domain.
"""

import ast
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from course import runner
from course.runner import tags
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.notebooks.files import NOTEBOOKS, PYTHON3, ROOT, each_notebook

GOLDEN = {"nbval-check-output", "keep_output"}
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in tags(cell)]


def is_plain_json_with_the_kernel_everyone_has(path, notebook):
    kernel = notebook.metadata.get("kernelspec", {})
    if (kernel.get("name"), kernel.get("language")) != ("python3", "python"):
        yield "the kernel is not python3, language python"
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        yield "is not in format 4.5"
    if path.stat().st_size > 200_000:
        yield f"has {path.stat().st_size} bytes, more than 200,000"


def is_stripped(path, notebook):
    line = re.search(
        r"^NBSTRIP := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    command = [sys.executable, *shlex.split(line[1]), "--verify", str(path)]
    if subprocess.run(command, capture_output=True).returncode:
        yield "holds outputs or metadata of a run; `make format` strips them"


def opens_with_title_question_objectives_minutes_needs(path, notebook):
    head = notebook.cells[0].source
    if not head.startswith(f"# {path.name[:2]} "):
        yield f"does not begin with '# {path.name[:2]} Title'"
    patterns = {
        "a question": r"\*\*Question\.\*\*[^\n]*(\n[^\n]+)*\?",
        "a list of objectives": r"\*\*Objectives\.\*\*[^\n]*\n\s*[-*] .+\n(.+\n)*?[-*] ",
        "its minutes": r"\*\*Minutes:\*\* \d+",
        "its needs": r"\*\*Needs:\*\* \w",
    }
    for what, pattern in patterns.items():
        if not re.search(pattern, head):
            yield f"does not name {what} in its first cell ({pattern})"


def sets_scale_and_seed_alone(path, notebook):
    if [index for index, c in enumerate(notebook.cells) if "parameters" in tags(c)] != [1]:
        yield "the second cell, and no other, must be tagged `parameters`"
        return
    found = {}
    for line in ast.parse(notebook.cells[1].source).body:
        if isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant):
            found[ast.unparse(line.targets[0])] = line.value.value
    count = len(ast.parse(notebook.cells[1].source).body)
    if found != {"scale": "laptop", "seed": 0} or count != 2:
        yield 'the `parameters` cell is not: scale = "laptop", seed = 0'


def shows_that_the_package_does_what_was_done_by_hand(path, notebook):
    if not any("assert_close" in cell.source for cell in code(notebook)):
        yield "has no assert_close"


def keeps_its_cells_short(path, notebook):
    lengths = [len(cell.source.splitlines()) for cell in code(notebook)]
    if max(lengths) > 25:
        yield f"has a cell of {max(lengths)} lines; 25 is the most"
    if statistics.median(lengths) > 6:
        yield f"its median cell has {statistics.median(lengths)} lines; 6 is the most"


def has_exercises_with_check_and_solution(path, notebook):
    if not tagged(notebook, "exercise"):
        yield "has no cell tagged `exercise`"
    places = [i for i, cell in enumerate(notebook.cells) if "exercise" in tags(cell)]
    checks = [i for i, cell in enumerate(notebook.cells) if "check" in tags(cell)]
    if checks != [place + 1 for place in places]:
        yield "each `exercise` cell must be followed by its `check` cell"
        return
    for place in places:
        yield from exercise_faults(*notebook.cells[place : place + 3])


def exercise_faults(stub, check, hidden):
    """What is wrong with one exercise: its stub, its check, its hidden solution."""
    if not re.fullmatch(r"exercises\.check_\w+\([^\n]*\)", check.source.strip()):
        yield f"a check is one call of exercises.check_*, not {check.source!r}"
    if not (hidden.cell_type == "markdown" and hidden.source.startswith("<details>")):
        yield "the cell after a check is not markdown that begins with <details>"
        return
    solved = runner.solution(hidden)
    if not has_ellipsis(stub.source) or has_ellipsis(solved):
        yield "`...` must stand in the stub and not in the solution"
    rest = iter(plain_lines(solved))
    for line in plain_lines(stub.source):
        if not has_dots(line) and line not in rest:
            yield f"the solution lacks, or has elsewhere, the stub's line {line!r}"


def has_ellipsis(source):
    return any(getattr(node, "value", None) is ... for node in ast.walk(ast.parse(source)))


def has_dots(line):
    return "..." in line


def plain_lines(source):
    lines = (line.split("  #")[0].rstrip() for line in source.splitlines())
    return [line for line in lines if line and not line.lstrip().startswith("#")]


def tells_its_limits(path, notebook):
    limits = [
        c.source for c in notebook.cells if c.source.startswith("## What this does not")
    ]
    if not limits or len(limits[0].splitlines()) < 4:
        yield "has no section '## What this does not show' of at least three lines"


def links_the_next_step(path, notebook):
    course_files = [p.name for p in sorted(path.parent.glob("[0-9][0-9]_*.ipynb"))]
    place = course_files.index(path.name) + 1
    target = course_files[place] if place < len(course_files) else "../README.md"
    last = notebook.cells[-1].source
    if not last.startswith("## Next") or target not in LINK.findall(last):
        yield f"its last cell is not '## Next' with a link to {target}"


def links_only_what_is_there(path, notebook):
    for cell in notebook.cells:
        for target in LINK.findall(cell.source) if cell.cell_type == "markdown" else ():
            if not target.startswith("http") and not (path.parent / target).exists():
                yield f"links {target}, which is not there"


def has_golden_cells_that_keep_their_output(path, notebook):
    golden = [cell for cell in notebook.cells if GOLDEN & set(tags(cell))]
    if not golden:
        yield f"has no golden cell (tags {sorted(GOLDEN)})"
    for cell in golden:
        kinds = {output.output_type for output in cell.outputs}
        if not set(tags(cell)) >= GOLDEN or kinds != {"stream"}:
            yield f"needs both golden tags and a stored print: {cell.source[:60]!r}"


def hides_nothing_from_the_harness(path, notebook):
    patterns = {
        r"(?m)^\s*[%!]": "magics and shell lines",
        r"@(widgets\.)?interact|\binteract\(": "interact",
        r"\bOutput\(|\.capture\(": "Output areas",
        r"renderers\.default": "a renderer of its own",
        r"sys\.path|import \*": "sys.path or import *",
        r"manual_seed|random\.seed": "a global seed",
        r"(read|write)_text\((?!.*encoding=)": "the encoding of a machine",
    }
    for cell in code(notebook):
        for pattern, what in patterns.items():
            if re.search(pattern, cell.source):
                yield f"uses {what}: {cell.source[:60]!r}"


def titles_an_interval_by_its_units(path, notebook):
    for cell in code(notebook):
        for found in re.findall(r"\.n\.[^}]*\} tasks\b(?! a domain)", cell.source):
            yield f"counts tasks in a title, {found!r}: the unit of a role is its domains"


RULES = [
    is_plain_json_with_the_kernel_everyone_has,
    is_stripped,
    opens_with_title_question_objectives_minutes_needs,
    sets_scale_and_seed_alone,
    shows_that_the_package_does_what_was_done_by_hand,
    keeps_its_cells_short,
    has_exercises_with_check_and_solution,
    tells_its_limits,
    links_the_next_step,
    links_only_what_is_there,
    has_golden_cells_that_keep_their_output,
    hides_nothing_from_the_harness,
    titles_an_interval_by_its_units,
]


def test_the_course_is_numbered_from_zero_without_gaps():
    assert [path.name[:2] for path in NOTEBOOKS] == [
        f"{i:02}" for i in range(len(NOTEBOOKS))
    ]
    assert NOTEBOOKS


@each_notebook
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_notebook(path, rule):
    assert not list(rule(path, nbformat.read(path, as_version=4)))


HEAD = """# 00 Steps

**Question.** How far is one step?

**Objectives.**
- take a step
- measure it

**Minutes:** 5

**Needs:** nothing."""
STUB = "def step(x):\n    return ...  # your turn"
SOLUTION = "def step(x):\n    return x + 1"
HIDDEN = f"<details><summary>Solution</summary>\n\n```python\n{SOLUTION}\n```\n\n</details>"


def cell(source, *names, outputs=()):
    return new_code_cell(source, metadata={"tags": list(names)}, outputs=list(outputs))


def model():
    """The cells of a notebook that breaks no rule, by name."""
    printed = new_output("stream", name="stdout", text="1.000\n")
    return {
        "head": new_markdown_cell(HEAD),
        "parameters": cell('scale = "laptop"\nseed = 0', "parameters"),
        "hand": cell("torch.testing.assert_close(a, b)"),
        "golden": cell('print("1.000")', *sorted(GOLDEN), outputs=[printed]),
        "stub": cell(STUB, "exercise"),
        "check": cell("exercises.check_step(step)", "check"),
        "hidden": new_markdown_cell(HIDDEN),
        "limits": new_markdown_cell("## What this does not show\n- a\n- b\n- c"),
        "next": new_markdown_cell("## Next\n[README](../README.md)"),
    }


def faults(folder, cells, metadata=PYTHON3):
    """The names of the rules that a notebook of these cells breaks."""
    (folder / "README.md").touch()
    path = folder / "notebooks" / "00_steps.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=list(cells.values()), metadata=metadata), path)
    notebook = nbformat.read(path, as_version=4)
    return [rule.__name__ for rule in RULES if list(rule(path, notebook))]


def test_the_model_notebook_breaks_no_rule(tmp_path):
    assert faults(tmp_path, model()) == []


BROKEN = [
    ("head", HEAD.replace("?", "."), RULES[2]),
    ("head", HEAD.replace("# 00", "# 01"), RULES[2]),
    ("head", HEAD.replace("**Minutes:** 5", ""), RULES[2]),
    ("parameters", 'scale = "smoke"\nseed = 0', RULES[3]),
    ("parameters", 'scale = "laptop"\nseed = 0\nsteps = 3', RULES[3]),
    ("hand", "print(a - b)", RULES[4]),
    ("hand", "assert_close()\n" + "a = 1\n" * 25, RULES[5]),
    ("stub", "def step(x):\n    return x", RULES[6]),
    ("stub", "def stride(x):\n    return ...", RULES[6]),
    ("check", "print(exercises.check_step(step))", RULES[6]),
    ("hidden", SOLUTION, RULES[6]),
    ("limits", "## What this does not show\nnothing", RULES[7]),
    ("next", "## Next\nThe end.", RULES[8]),
    ("hidden", HIDDEN + "\n[more](more.md)", RULES[9]),
    ("golden", None, RULES[10]),
    ("hand", "assert_close()\n@interact(x=1)\ndef f(x): ...", RULES[11]),
    ("hand", "assert_close()\nwords = path.read_text()", RULES[11]),
    ("hand", 'assert_close()\ntitle = f"gain, 95 %, {many.n.max()} tasks"', RULES[12]),
]


@pytest.mark.parametrize(("name", "source", "rule"), BROKEN)
def test_a_notebook_that_breaks_a_rule_is_found(tmp_path, name, source, rule):
    cells = model()
    if source is None:
        del cells[name]
    else:
        cells[name].source = source
    assert faults(tmp_path, cells) == [rule.__name__]


def test_a_left_over_output_and_another_kernel_are_found(tmp_path):
    cells = model()
    cells["hand"].outputs = [new_output("stream", text="left over")]
    assert faults(tmp_path, cells, metadata={}) == [rule.__name__ for rule in RULES[:2]]


def test_the_rules_written_here_are_the_only_copy():
    assert Path(__file__).name in Path(runner.__file__).read_text(encoding="utf-8")
