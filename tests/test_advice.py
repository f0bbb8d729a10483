"""What messages, help and pages tell a reader to use is there: options, scripts, targets, names."""

import ast
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted((ROOT / "data_scripts").rglob("*.py"))
SCRIPTS = {
    p.name: p for p in PROGRAMS if "script.run(main)" in p.read_text(encoding="utf-8")
}
SOURCES = [*sorted((ROOT / "hyperlab").rglob("*.py")), *{*PROGRAMS} - {*SCRIPTS.values()}]
PAGES = [*ROOT.glob("*.md"), ROOT / "data_scripts/README.md", *ROOT.glob("results/*.md")]
PAGES.remove(ROOT / "results/CORRECTIONS.md")  # quotes what is no more
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
THEIRS = {  # options of pip, pytest, JupyterLab, voila, git, dask, docker and kubectl
    *(
        "--help",
        "--no-browser",
        "--port",
        "--token",
        "--template",
        "--nworkers",
        "--nthreads",
    ),
    *("--image", "--replicas", "--from", "--requests", "--restart", "--env", "--gres"),
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*(?![\w])")
SCRIPT = re.compile(r"(?:(?<=data_scripts/)|(?<![\w/.*}]))([a-z]\w*\.py)\b")
TARGET = re.compile(r"(?:`|run:? )make ([a-z]+)")
RESULT = re.compile(r"results/\w+\.(?:json|md|html|gif|png)")
DOTTED = re.compile(r"`((?:\w+\.)+(?!json|gif|png|py|md)\w+)`")
TARGETS = set(
    re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
)
FILES = {path.name for path in (*SOURCES, *SCRIPTS.values(), *ROOT.glob("tests/**/*.py"))}
FILES |= {"configs.py"}  # of a benchmark that is quoted
FILES |= {f"compare_{s}.py" for s in ("bases", "rules", "subsets", "supports")}
FILES |= {"recover_training.py"}  # with these, of commit d125f21: results/README.md
MADE = {"results/index.md"}  # a page of the book
ELSEWHERE = {"nn", "rules"}  # torch's, and an argument


@cache
def options(name):
    """The options of a script, from the arguments of its `main`."""
    tree = ast.parse(SCRIPTS[name].read_text(encoding="utf-8"))
    [main] = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
    named = {f"--{a.arg.replace('_', '-')}" for a in main.args.args}
    given = {w for a in main.args.args for w in strings(a) if OPTION.fullmatch(w)}
    return named | given | {f"--no-{option[2:]}" for option in named}


def strings(tree):
    """Every string in a syntax tree; of one with values in it, the words around them."""
    inside = {
        id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and id(node) not in inside:
            yield from [node.value] * isinstance(node.value, str)


def texts():
    """(where, text) of everything that a reader may be shown."""
    for path in (*SOURCES, *SCRIPTS.values()):
        for text in strings(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, text
    for path in PAGES:
        for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
            yield path, SCRIPT.sub("", paragraph)  # of several scripts, each its options
            yield from ((path, span) for span in re.findall("`[^`]+`", paragraph))
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            yield path, cell.source


TEXTS = list(texts())
EVERY = {option for name in SCRIPTS for option in options(name)} | THEIRS


def lacking(path, text):
    """What a text names and nobody finds."""
    named = [name for name in SCRIPT.findall(text) if name in SCRIPTS]
    known = [options(name) for name in named] or [EVERY]
    if path in SCRIPTS.values() and not named:
        known = [options(path.name)]
    yield from (o for o in OPTION.findall(text) if o not in THEIRS.union(*known))
    yield from (name for name in SCRIPT.findall(text) if name not in FILES)
    yield from (f"make {name}" for name in TARGET.findall(text) if name not in TARGETS)
    wanted = set() if path in SCRIPTS.values() else set(RESULT.findall(text)) - MADE
    yield from sorted(name for name in wanted if not (ROOT / name).exists())


def test_every_option_script_target_and_result_that_is_named_is_there():
    found = [f"{p.name}: {name}" for p, text in TEXTS for name in lacking(p, text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("take --worker 2", "--worker"),
        ("run: python data_scripts/evaluate.py --epochs 3", "--epochs"),
        ("see evaluates.py", "evaluates.py"),
        ("run: make supper", "make supper"),
        ("[here](results/nothing.md)", "results/nothing.md"),
    ],
)
def test_what_is_not_there_is_found(text, name):
    assert list(lacking(ROOT / "README.md", text)) == [name]


def members(node):
    """The names that a module or class has: what its body, or a method, defines or imports."""
    for part in node.body:
        if isinstance(part, ast.ClassDef | ast.FunctionDef):
            yield part.name
        elif isinstance(part, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in part.names)
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store):
            yield part.attr


def things():
    """Name -> the names in the modules and classes of the package that are called so."""
    found, above = {}, {}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found.setdefault(path.parent.name, set()).add(path.stem)
        for node in (tree, *(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef))):
            name = getattr(node, "name", path.stem)
            found.setdefault(name, set()).update(members(node))
            above.setdefault(name, []).extend(
                ast.unparse(b) for b in getattr(node, "bases", ())
            )
    for _ in range(3):  # what a class inherits, and what its parents do
        for name, parents in above.items():
            found[name] |= {m for p in parents for m in found.get(p.partition("[")[0], ())}
    return found


def test_every_dotted_name_in_back_quotes_is_there():
    known, lost = things(), []
    for path, text in TEXTS:
        for name in DOTTED.findall(text):
            first, second = name.removeprefix("hyperlab.").split(".")[:2]
            if first in known.keys() - ELSEWHERE and second not in known[first]:
                lost.append(f"{path.name}: {name}")
    assert lost == []
