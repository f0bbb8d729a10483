"""What every notebook of the course says in words, and on what evidence.

1.  Something is done by hand before the package does it: markdown says "by hand", statements
    below it that name nothing of the package compute a value, `assert_close` compares it.
2.  It has a figure and an app: a cell that draws, and a cell that ends in a view of
    `hyperlab.apps`.
3.  It has at least 600 words; code, formulas and the addresses of links are not counted.
4.  A claim, a number with a unit of evidence (`prose.claims`), has in its own section a code
    cell that shows something, or in its own paragraph a link to a file of this repository or
    a source: an address, an arXiv number, authors and a year, a place in one of the papers.
    Each item of a list and each row of a table is a paragraph of its own. A ratio beside
    a formula follows from it, and what a notebook or an exercise needs (minutes, memory) is
    a promise to the reader: neither is a claim.
5.  Results that it names are there. A measured number beside a link into results/ (per cent,
    points, an interval) stands in the file with the same rounding, and an interval, which no
    reader's own run will print again, has such a link.
"""

import ast
import re
from functools import cache

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tests.notebooks import prose
from tests.notebooks.files import PYTHON3, each_notebook
from tests.notebooks.test_form import cell, code

WORDS = 600
LIBRARIES = {"torch", "math", "np", "float", "int"}  # they belong to neither side


def used(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def bound(node):
    """Names that a statement gives a value."""
    stored = {
        n.id
        for n in ast.walk(node)
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    return stored | {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef)}


def compared(node):
    """The two sides of every assert_close in a statement."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("assert_close"):
            yield from call.args[:2]


def does_it_by_hand_first(path, notebook):
    package, made, begun = prose.package_names(code(notebook)), set(), False
    for each in notebook.cells[1:]:
        if each.cell_type == "markdown":
            begun |= bool(re.search(r"\bby hand\b", each.source, re.IGNORECASE))
            continue
        for line in ast.parse(each.source).body if begun else ():
            sides = (used(side) - LIBRARIES for side in compared(line))
            if any(side and side <= made for side in sides):
                return
            made = made - bound(line) if used(line) & package else made | bound(line)
    yield 'compares nothing that was computed without the package below the words "by hand"'


def views(notebook, where):
    """Names that a notebook imports from modules of hyperlab, by a pattern of theirs."""
    for node in (n for each in code(notebook) for n in ast.walk(ast.parse(each.source))):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if re.fullmatch(rf"hyperlab\.{where}", f"{node.module}.{alias.name}"):
                    yield alias.asname or alias.name


def has_a_figure(path, notebook):
    drawing = {"go", "px", *views(notebook, r"views\.(figures|fields)(\.\w+)?")}
    calls = (n for each in code(notebook) for n in ast.walk(ast.parse(each.source)))
    if not any(isinstance(n, ast.Call) and root(n.func) in drawing for n in calls):
        yield "draws no figure"


def root(node):
    """The name that a chain of attributes and calls begins with."""
    while not isinstance(node, ast.Name):
        node = getattr(node, "func", None) or getattr(node, "value", None)
        if node is None:
            return None
    return node.id


def has_an_app(path, notebook):
    apps = set(views(notebook, r"apps\.\w+(\.\w+)?"))
    lines = [line for each in code(notebook) for line in ast.parse(each.source).body]
    made = (
        line for line in lines if isinstance(line, ast.Assign) and is_view(line.value, apps)
    )
    shown = {ast.unparse(target) for line in made for target in line.targets}
    ends = (ast.parse(each.source).body[-1] for each in code(notebook))
    values = [line.value for line in ends if isinstance(line, ast.Expr)]
    if not any(is_view(value, apps) or ast.unparse(value) in shown for value in values):
        yield "shows no app of hyperlab.apps"


def is_view(value, apps):
    """Whether a value is an app."""
    called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    return called in apps and called == "App"


def says_enough_in_words(path, notebook):
    if (count := len(prose.words(prose.text(notebook)))) < WORDS:
        yield f"has {count} words; {WORDS} are the least"


def backs_its_claims(path, notebook):
    for section in prose.sections(notebook):
        if any(map(prose.shows, section.code)):
            continue
        for paragraph in section.paragraphs:
            backed = prose.links(paragraph) or prose.SOURCE.search(paragraph)
            if not backed and (found := prose.claims(paragraph)):
                yield f"claims {found} without a cell, a result or a source: {paragraph!r}"


def names_results_that_are_there(path, notebook):
    for name in prose.results(prose.text(notebook)):
        if not (path.parents[1] / name).exists():
            yield f"names {name}, which is not there"


def quotes_results_as_they_stand(path, notebook):
    for paragraph in prose.paragraphs(prose.text(notebook)):
        targets = [
            path.parent / link for link in prose.links(paragraph) if "results/" in link
        ]
        files = [target for target in targets if target.exists()]
        for number in prose.measured(paragraph):
            if not files and len(number) == 1:
                continue  # no result is quoted; `backs_its_claims` looks at it
            if not any(prose.stands(number, prose.numbers(file)) for file in files):
                yield f"{' ± '.join(number)} is not in {[f.name for f in files]}"


RULES = [
    does_it_by_hand_first,
    has_a_figure,
    has_an_app,
    says_enough_in_words,
    backs_its_claims,
    names_results_that_are_there,
    quotes_results_as_they_stand,
]


@each_notebook
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_notebook(path, rule):
    assert not list(rule(path, read(path)))


@cache
def read(path):
    return nbformat.read(path, as_version=4)


IMPORTS = """import torch

from hyperlab import solvers
from hyperlab.views import figures
from hyperlab.apps.app import App"""
FILLER = "word " * WORDS


def model():
    """The cells of a notebook that breaks no rule, by name."""
    return {
        "head": new_markdown_cell(f"# 00 Steps\n\n**Needs:** 1 GB of memory.\n\n{FILLER}"),
        "imports": cell(IMPORTS),
        "words": new_markdown_cell("## A path\n\nOne step, by hand:"),
        "hand": cell("theta = torch.zeros(2) - 0.5"),
        "compare": cell("torch.testing.assert_close(solvers.solve(f)[-1], theta)"),
        "figure": cell("figures.path_2d(theta)"),
        "app": cell("view = App(theta)\nview"),
        "claim": new_markdown_cell("It gains 12 % of the way."),
        "limits": new_markdown_cell(
            "## Limits\n\n- On the path 3.4 ± 0.2 [gained](../results/a.md)."
        ),
    }


def faults(folder, cells):
    """The names of the rules that a notebook of these cells breaks."""
    (folder / "results").mkdir()
    (folder / "results" / "a.md").write_text(
        "| all | 70.1 | +3.41 ± 0.19 | -2.0 ± 0.3 |", encoding="utf-8"
    )
    path = folder / "notebooks" / "00_steps.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=list(cells.values()), metadata=PYTHON3), path)
    notebook = nbformat.read(path, as_version=4)
    return [rule.__name__ for rule in RULES if list(rule(path, notebook))]


def test_the_model_notebook_breaks_no_rule(tmp_path):
    assert faults(tmp_path, model()) == []


BROKEN = [
    ("words", "## A path\n\nOne step:", RULES[0]),
    ("hand", "theta = solvers.solve(f)[-1]", RULES[0]),
    ("compare", "torch.testing.assert_close(solvers.solve(f), solvers.solve(g))", RULES[0]),
    ("figure", "plot(theta)", RULES[1]),
    ("app", "view = stepper.stepper(theta)\nprint(1)", RULES[2]),
    ("app", "state = stepper.Stepper(theta)\nstate", RULES[2]),
    ("head", "# 00 Steps\n\nFew words.\n\n```python\n" + FILLER + "\n```", RULES[3]),
    ("head", "# 00 Steps\n\nFew words: $" + FILLER + "$.", RULES[3]),
    (
        "claim",
        "It gains much.\n\n## Another section\n\nIt gains 12 % of the way.",
        RULES[4],
    ),
    (
        "limits",
        "## Limits\n\n- It is three times as fast.\n- [gained](../results/a.md)",
        RULES[4],
    ),
    ("limits", "## Limits\n\nSee `results/b.md`.", RULES[5]),
    ("limits", "## Limits\n\nIt gains 3.5 ± 0.2, [here](../results/a.md).", RULES[6]),
    ("limits", "## Limits\n\nIt gains 3.4 ± 0.3, [here](../results/a.md).", RULES[6]),
    ("limits", "## Limits\n\nIt gains +2.0 ± 0.3, [here](../results/a.md).", RULES[6]),
    ("limits", "## Limits\n\nIt gains 71 %, [here](../results/a.md).", RULES[6]),
    ("claim", "It gains 3.4 ± 0.2 points.", RULES[6]),
]


@pytest.mark.parametrize(("name", "source", "rule"), BROKEN)
def test_a_notebook_that_breaks_a_rule_is_found(tmp_path, name, source, rule):
    cells = model()
    cells[name].source = source
    assert faults(tmp_path, cells) == [rule.__name__]


CLAIMS = [
    ("It gains 79 % of it.", ["79 %"]),
    ("It gains 79 per cent.", ["79 per cent"]),
    ("a lead of +2.7 ± 0.2 points", ["+2.7 ± 0.2"]),
    ("a point or two, or 1.7 points", ["1.7 points"]),
    ("a 95 % interval and 95 % intervals", []),
    ("in 44 s, in 1.5 hours, in 3 ms", ["44 s", "1.5 hours", "3 ms"]),
    ("2 GiB, 8 GB and 9.2 GFLOP", ["2 GiB", "8 GB", "9.2 GFLOP"]),
    (
        "three times as much, 27 and 42 times the price",
        ["three times as", "27 and 42 times the"],
    ),
    ("twice as good; trained 50 times; 3 times 4", ["twice as"]),
    ("two thirds of a batch, a third way", ["two thirds of"]),
    ("with $s = 10^{-9}$ a tenth of it, and 3 %", ["3 %"]),
    ("`12 %`, $12 %$ and [it](a_12 %.md)", []),
    ("**Needs:** 2 GB of memory", []),
    ("*Medium, 10 minutes.* It gains 3 %.", ["3 %"]),
    ("- prove it\n- in 5 minutes", ["5 minutes"]),
]


@pytest.mark.parametrize(("said", "found"), CLAIMS)
def test_a_claim_is_a_number_with_a_unit_of_evidence(said, found):
    assert prose.claims(said) == found


SOURCES = [
    "(Cohen et al. 2021)",
    "Zeng et al. (2025) found 12 %",
    "arXiv:2103.00065",
    "https://example.org/paper",
    "(FLoWN, table 4)",
    "(HyperFlow, abstract)",
]


@pytest.mark.parametrize("said", SOURCES)
def test_a_source_says_where_to_read_it(said):
    assert prose.SOURCE.search(said)


@pytest.mark.parametrize(
    "said", ["the paper says", "Adam 2021", "table 4", "FLoWN, mean head"]
)
def test_a_name_alone_is_no_source(said):
    assert not prose.SOURCE.search(said)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("x = 1\nprint(x)", True),
        ("x = 1\nx", True),
        ("figures.lines(x)", True),
        ("x = 1", False),
        ("torch.testing.assert_close(a, b)", False),
        ("exercises.check_step(step)", False),
        ("def f(x):\n    return ...", False),
    ],
)
def test_a_cell_shows_what_it_prints_or_ends_in(source, shown):
    assert prose.shows(source) is shown
