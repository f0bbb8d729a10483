"""Imports point one way, each third-party package has one door, and sizes stay readable."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hyperlab"
ORDER = [  # a room imports from the rooms of its own row and of the rows above, no other
    {"base"},
    {"checkpoint", "executor", "identity", "interpolants", "nn", "notebook", "params"}
    | {"solvers", "store"},
    {"tasks"},
    {"models"},
    {"hyperflow", "weights"},
    {"evaluation"},
    {"views"},
    {"apps"},
    {"exercises"},
]
APART = {"hyperflow": "weights", "weights": "hyperflow"}  # neither imports the other
STORES = {"store"}
DOORS = {
    "timm": {"models.targets"},
    "safetensors": {"checkpoint"},
    "torchdiffeq": {"solvers"},
    "pooch": {"tasks.download"},
    "umap": {"views.projection"},
    "plotly": {"views", "apps"},
    "ipywidgets": {"apps"},
    "anywidget": {"apps"},
    "xarray": STORES,
    "zarr": STORES,
    "fsspec": STORES,
    "dask": {"executor"},
    "distributed": {"executor"},
    "dask_jobqueue": set(),
    **dict.fromkeys(["papermill", "nbformat", "nbclient", "nbconvert", "sphinx"], set()),
    "typer": set(),  # these are for data_scripts/ alone
}
LINES, FUNCTION_LINES, ARGUMENTS, FIELDS = 400, 40, 6, 10
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path):
    """hyperlab/tasks/__init__.py -> "tasks"; hyperlab/__init__.py -> ""."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def sources(folder):
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


MODULES = {module_name(path): path.read_text(encoding="utf-8") for path in sources(PACKAGE)}
SCRIPTS = {
    path.relative_to(ROOT / "data_scripts").as_posix(): path.read_text(encoding="utf-8")
    for path in sources(ROOT / "data_scripts")
}
PACKAGES = {module_name(p) for p in sources(PACKAGE) if p.name == "__init__.py"}

each_module = pytest.mark.parametrize("name", sorted(MODULES))


def imports(source, name="", packages=frozenset()):
    """(hyperlab modules, third-party packages) that a source imports, inside functions too."""
    ours, theirs = set(), set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            theirs |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            theirs |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            here = name.split(".") if name else []
            up = node.level - (name in packages)
            base = here[: len(here) - up] + (node.module.split(".") if node.module else [])
            ours |= {".".join([*base, alias.name]) for alias in node.names}
    absolute = {full for full in theirs if full.split(".")[0] == "hyperlab"}
    ours |= {full.removeprefix("hyperlab").lstrip(".") for full in absolute}
    return ours, {full.split(".")[0] for full in theirs - absolute}


def room(module):
    return module.split(".")[0]


def rank(module):
    return next(i for i, rooms in enumerate(ORDER) if room(module) in rooms)


def upward(name, source, packages=frozenset(PACKAGES)):
    """Sentences for the imports that point to a later room."""
    for target in sorted(imports(source, name, packages)[0]):
        if room(target) not in {r for row in ORDER for r in row}:
            continue  # hyperlab itself, e.g. its version
        if rank(target) > rank(name) or APART.get(room(name)) == room(target):
            yield f"{name} imports {target}"


def side_doors(name, source):
    """Sentences for the third-party packages that are not imported through their door."""
    for package in sorted(imports(source, name)[1] & set(DOORS)):
        if not any(name == door or name.startswith(f"{door}.") for door in DOORS[package]):
            yield f"{name} imports {package}; its door is {sorted(DOORS[package])}"


def test_every_room_has_its_place():
    assert {room(name) for name in MODULES} - {""} <= {r for row in ORDER for r in row}


@each_module
def test_imports_point_one_way(name):
    if name:
        assert not list(upward(name, MODULES[name]))


@each_module
def test_third_party_packages_come_through_their_door(name):
    assert not list(side_doors(name, MODULES[name]))


def test_no_modules_import_each_other_in_a_circle():
    graph = {
        name: {full if full in MODULES else full.rpartition(".")[0] for full in found}
        - {name}
        for name in MODULES
        for found, _ in [imports(MODULES[name], name, PACKAGES)]
    }
    while leaves := {name for name, needs in graph.items() if not needs & set(graph)}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert not graph


def test_importing_the_package_takes_less_than_a_third_of_a_second():
    code = "from time import time; t = time(); import hyperlab; print(time() - t)"
    seconds = [float(python(code)) for _ in range(3)]
    assert min(seconds) < 0.3


def test_solvers_load_without_the_heavy_packages():
    heavy = ["plotly", "timm", "umap", "ipywidgets", "xarray", "zarr", "torchvision"]
    heavy += ["torchdiffeq", "scipy"]
    code = (
        f"import sys; from hyperlab import solvers; print(*set({heavy}) & set(sys.modules))"
    )
    assert python(code) == ""


def python(code):
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    return done.stdout.strip()


PRIVATE_WORDS = (
    {"crew", "here", "host", "hosts", "how", "made", "met", "mine", "said", "some"}
    | {
        "told"  # what a name of the field would say better: options, condition, prediction, batch
    }
)


def private_words(source):
    """Sentences for the names that a reader of the field would not look for."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        else:
            name = getattr(node, "id", "") or getattr(node, "attr", "")
        if name in PRIVATE_WORDS:
            yield f"line {node.lineno}: {name}"


def n_arguments(function):
    args = function.args
    named = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    return len([arg for arg in named if arg.arg not in ("self", "cls")])


def oversize(source):
    """Sentences for what is too long to be read at a glance."""
    if len(source.splitlines()) > LINES:
        yield f"{len(source.splitlines())} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"line {node.lineno}: {node.name} has {length} lines"
            if n_arguments(node) > ARGUMENTS:
                yield f"line {node.lineno}: {node.name} has {n_arguments(node)} arguments"


def loose_configs(source):
    """Sentences for *Config classes that are not small frozen keyword-only dataclasses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Config"):
            how = " ".join(map(ast.unparse, node.decorator_list))
            if "frozen=True" not in how or "kw_only=True" not in how:
                yield f"{node.name} is not @dataclass(frozen=True, kw_only=True)"
            if (fields := sum(isinstance(n, ast.AnnAssign) for n in node.body)) > FIELDS:
                yield f"{node.name} has {fields} fields"


FORBIDDEN = {
    r"(pickle|dill|joblib)\.loads?": "unpickles",
    r"sys\.path(\..*)?": "edits sys.path",
    r"(torch|np|random)(\.random|\.cuda)?\.(manual_seed(_all)?|seed)": "seeds all there is",
    r"torch\.rand(n|int)?_like": "draws from the global generator",
    r"np\.random\.(rand|randn|randint|random|normal|uniform|choice|permutation)": "so does",
    r"jaxtyping\.PyTree": "needs JAX",
}


def forbidden(source):
    """Sentences for what the house rules forbid in the package."""
    for node in ast.walk(ast.parse(source)):
        for fault in (*forbidden_nodes(node), *forbidden_names(node)):
            yield f"line {node.lineno}: {fault}"
    if words := re.findall(r"\b(TODO|FIXME|XXX)\b", source):
        yield f"unfinished: {words}"


def forbidden_nodes(node):
    if isinstance(node, ast.ExceptHandler) and node.type is None:
        yield "bare except"
    if isinstance(node, ast.Assert):
        yield "assert; raise an error that helps"
    if isinstance(node, ast.ImportFrom) and "__future__" in (node.module or ""):
        yield ast.unparse(node)
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        yield ast.unparse(node)


def forbidden_names(node):
    if isinstance(node, ast.Attribute):
        said = ast.unparse(node)
        yield from (f"{said} {v}" for k, v in FORBIDDEN.items() if re.fullmatch(k, said))
    if isinstance(node, ast.Call):
        said, given = ast.unparse(node.func), {k.arg for k in node.keywords}
        if said == "print":
            yield "print"
        if said == "torch.load" and "weights_only=True" not in ast.unparse(node):
            yield "torch.load without weights_only=True"
        if said.startswith("torch.") and said[6:] in DRAWS and "generator" not in given:
            yield f"{said} without generator="


def unencoded(source):
    """Sentences for text that is read or written in whatever encoding a machine prefers."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or "encoding" in {k.arg for k in node.keywords}:
            continue
        if is_text(node, ast.unparse(node.func)):
            yield f"line {node.lineno}: {ast.unparse(node)} without encoding="


def is_text(call, name):
    """Whether a call opens a file, or listens to a process, for text and not for bytes."""
    given = {k.arg: ast.unparse(k.value) for k in call.keywords}
    method = isinstance(call.func, ast.Attribute)
    if name.startswith("subprocess."):
        return bool({"text", "universal_newlines"} & set(given))
    if method and (call.func.attr in ("read_text", "write_text") or "newline" in given):
        return True
    modes = [ast.unparse(a) for a in call.args] + [given.get("mode", "''")]
    modes = {m.strip("'") for m in modes if re.fullmatch("'[rwaxbt+]+'", m)}
    if name in ("open", "io.open", "os.fdopen"):
        return not any("b" in m for m in modes)
    return bool(method and call.func.attr == "open" and any("b" not in m for m in modes))


@pytest.mark.parametrize("folder", ["hyperlab", "data_scripts", "tests"])
def test_text_is_utf_8_on_every_machine(folder):
    texts = {path: path.read_text(encoding="utf-8") for path in sources(ROOT / folder)}
    faults = {path: [*unencoded(text)] for path, text in texts.items()}
    assert not {path: found for path, found in faults.items() if found}


def test_a_deviation_is_never_written_as_an_interval():
    notebooks = {
        p.name: p.read_text(encoding="utf-8") for p in (ROOT / "notebooks").glob("*.ipynb")
    }
    texts = MODULES | SCRIPTS | notebooks
    written = re.compile(r"(\+-|±)[^\n]{0,9}\{[^}\n]*\.std\(")
    assert written.search('f"{x.mean():.4f} +- {x.std():.4f}"')
    assert not [name for name, text in texts.items() if written.search(text)]


@each_module
def test_files_functions_and_configs_are_small(name):
    assert not [*oversize(MODULES[name]), *loose_configs(MODULES[name])]


@each_module
def test_the_house_rules_hold(name):
    assert not list(forbidden(MODULES[name]))


@pytest.mark.parametrize("texts", [MODULES, SCRIPTS], ids=["hyperlab", "data_scripts"])
def test_names_are_words_of_the_field(texts):
    found = {name: [*private_words(text)] for name, text in texts.items()}
    assert not {name: words for name, words in found.items() if words}


@each_module
def test_modules_are_named_after_what_is_in_them(name):
    assert not set(name.split(".")) & {"utils", "helpers", "common", "misc", "util"}


def faults_of_a_script(name, source):
    """Sentences for what is too long, or forbidden; a script prints, and has many options."""
    for fault in (*oversize(source), *loose_configs(source), *forbidden(source)):
        if not re.search(r": (main has .*|print)$", fault):
            yield fault
    alone = "script.run(main)" not in source or name == "evaluate.py"  # of everything
    if not alone and not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+\.py", name):
        yield f"{name} is no verb_noun.py"


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_data_scripts_keep_the_rules(name):
    assert not [*faults_of_a_script(name, SCRIPTS[name])]


def test_nothing_imports_the_data_scripts():
    ours = {Path(name).parts[0].removesuffix(".py") for name in SCRIPTS}
    assert not {n for n in MODULES if imports(MODULES[n], n, PACKAGES)[1] & ours}


WRONG = {
    "from ..views import figures": upward,
    "from hyperlab.evaluation import cost": upward,
    "from ..weights import flow": upward,
    "import timm": side_doors,
    "def f():\n    import plotly.io": side_doors,
    "x = 1\n" * (LINES + 1): oversize,
    "def f():\n" + "    x = 1\n" * FUNCTION_LINES: oversize,
    "def f(a, b, c, d, *, e, f, g): ...": oversize,
    "@dataclass\nclass FlowConfig: ...": loose_configs,
    "print(1)": forbidden,
    "pickle.load(f)": forbidden,
    "torch.load(f)": forbidden,
    "torch.randn(3)": forbidden,
    "torch.randn_like(x)": forbidden,
    "torch.manual_seed(0)": forbidden,
    "np.random.normal()": forbidden,
    "sys.path.append('.')": forbidden,
    "from os import *": forbidden,
    "from __future__ import annotations": forbidden,
    "try:\n    f()\nexcept:\n    pass": forbidden,
    "assert x": forbidden,
    "x = 1  # TODO": forbidden,
    "def f(told): ...": private_words,
    "path.read_text()": unencoded,
    "path.write_text(text)": unencoded,
    "open('notes.txt')": unencoded,
    "path.open('a', newline='')": unencoded,
    "subprocess.run(command, text=True)": unencoded,
}


@pytest.mark.parametrize(("source", "rule"), WRONG.items(), ids=[s[:30] for s in WRONG])
def test_a_broken_rule_is_found(source, rule):
    named = rule in (upward, side_doors)
    assert list(rule("hyperflow.drift", source) if named else rule(source))


def test_imports_are_resolved_wherever_they_stand():
    source = "from . import drift\nfrom ..tasks.episodes import Episode\nimport torch.nn"
    ours, theirs = imports(source, "hyperflow.adapt")
    assert ours == {"hyperflow.drift", "tasks.episodes.Episode"}
    assert theirs == {"torch"}
    assert imports("from .drift import Drift", "hyperflow", {"hyperflow"})[0] == {
        "hyperflow.drift.Drift"
    }
