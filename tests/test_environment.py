"""pyproject.toml, constraints.txt, environment.yml and the Makefile tell one story."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests import test_layers as layers

ROOT = Path(__file__).parents[1]
SETUP = ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile", ".ci/run")
CONDA = {"python", "pip"}  # all that conda itself may bring
OPTIONAL = {
    "torchcde",
    "torchcfm",
    "dask",
    "distributed",
}  # extras; hyperlab says so where they lack
Pins = dict[str, str]


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def project(source):
    return tomllib.loads(source)["project"]


def bounds(source):
    """Every requirement of pyproject.toml, the extras' included."""
    table = project(source)
    lists = [table["dependencies"], *table["optional-dependencies"].values()]
    return [Requirement(line) for lines in lists for line in lines]


def pins(source):
    """name -> version; a line that is anything but name==version is an error."""
    found: Pins = {}
    for line in source.splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
            assert match, f"constraints.txt: {line!r} is not name==version"
            name = canonicalize_name(match[1])
            assert name not in found, f"constraints.txt: {name} stands twice"
            found[name] = match[2]
    return found


def unmet(requirements, found):
    """Sentences for the requirements that have no pin, or a pin out of bounds."""
    for need in requirements:
        pin = found.get(canonicalize_name(need.name))
        if pin is None:
            yield f"{need} has no pin in constraints.txt"
        elif not need.specifier.contains(pin, prereleases=True):
            yield f"{need} is pinned to {pin}"


def conda_faults(yml, pyproject):
    """Sentences for what environment.yml says that pyproject.toml does not."""
    recipe, table = yaml.safe_load(yml), project(pyproject)
    plain = [d for d in recipe["dependencies"] if isinstance(d, str)]
    lines = next(d["pip"] for d in recipe["dependencies"] if isinstance(d, dict))
    known = {canonicalize_name(need.name) for need in bounds(pyproject)}
    if recipe["name"] != table["name"]:
        yield f"the environment is named {recipe['name']}, the project {table['name']}"
    for name, _, version in (d.partition("=") for d in plain):
        if name not in CONDA | known:
            yield f"{name} of environment.yml is not in pyproject.toml"
        if name == "python" and version not in SpecifierSet(table["requires-python"]):
            yield f"python={version} does not satisfy {table['requires-python']}"
    if "-c constraints.txt" not in lines:
        yield "pip does not read constraints.txt"
    for extra in extras("".join(lines)):
        if extra not in table["optional-dependencies"]:
            yield f"extra {extra} of environment.yml is not in pyproject.toml"


def extras(source):
    """The names in the first `.[a,b]` of a text."""
    return re.search(r"\.\[([a-z,]+)\]", source)[1].split(",")


def closure(names):
    """(owner, requirement) for all that the names pull in on this machine."""
    queue, seen = [(name, "") for name in names], set()
    while queue:
        name, extra = queue.pop()
        for line in metadata.requires(name) or ():
            need = Requirement(line)
            if need.marker and not need.marker.evaluate({"extra": extra}):
                continue
            key = (canonicalize_name(need.name), tuple(sorted(need.extras)))
            yield name, need
            if key not in seen:
                seen.add(key)
                queue += [(key[0], e) for e in ("", *key[1])]


def test_every_bound_has_a_pin_inside_it():
    assert not list(unmet(bounds(text("pyproject.toml")), pins(text("constraints.txt"))))


def test_environment_yml_agrees_with_pyproject():
    assert not list(conda_faults(text("environment.yml"), text("pyproject.toml")))


def test_the_whole_installed_tree_is_pinned_and_the_pins_suit_each_other():
    found = pins(text("constraints.txt"))
    named = [need.name for need in bounds(text("pyproject.toml"))]
    here = [name for name in named if installed(name)]
    faults = {f"{o}: {f}" for o, need in closure(here) for f in unmet([need], found)}
    assert not faults


def installed(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_torchvision_is_the_partner_of_torch():
    """A torch of another build breaks `import timm`, so both are held to one pair."""
    found = pins(text("constraints.txt"))
    if installed("torchvision").split("+")[0] != found["torchvision"]:
        pytest.skip("another torchvision is installed than constraints.txt names")
    needs = [Requirement(line) for line in metadata.requires("torchvision")]
    partner = next(need for need in needs if need.name == "torch")
    assert found["torch"] in partner.specifier


def test_make_and_conda_install_the_same_extras():
    assert set(extras(text("environment.yml"))) <= set(extras(text("Makefile")))


@pytest.mark.parametrize("name", SETUP)
def test_no_package_host_is_named(name):
    hosts = re.findall(r"(?i)https?://\S+|file:\S+|index-url|find-links", text(name))
    assert not hosts, f"{name} names {hosts}"


def needed_by(rooms):
    """Distributions that the modules of these rooms import: torch, pillow, scikit-learn..."""
    owners = metadata.packages_distributions()
    found = set()
    for name in layers.MODULES:
        if rooms(name):
            theirs = layers.imports(layers.MODULES[name], name, layers.PACKAGES)[1]
            foreign = theirs - sys.stdlib_module_names
            found |= {canonicalize_name(owners[package][0]) for package in foreign}
    return found


def needs_notebooks(name):
    return layers.room(name) in ("apps", "views")


def test_every_import_of_the_package_is_a_requirement():
    table = project(text("pyproject.toml"))
    plain = {canonicalize_name(Requirement(line).name) for line in table["dependencies"]}
    extra = table["optional-dependencies"]
    shown = {canonicalize_name(Requirement(line).name) for line in extra["notebooks"]}
    assert needed_by(lambda name: not needs_notebooks(name)) <= plain | OPTIONAL
    assert needed_by(needs_notebooks) <= plain | shown


def test_the_pretrained_networks_are_package_data():
    data = tomllib.loads(text("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    assert "pretrained/*" in data["hyperlab"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (lambda s: re.sub(r"(?m)^plotly==.*\n", "", s), "plotly<8,>=6 has no pin"),
        (lambda s: re.sub(r"(?m)^plotly==.*", "plotly==5.24", s), "pinned to 5.24"),
    ],
)
def test_a_wrong_constraint_is_found(changed, fault):
    found = pins(changed(text("constraints.txt")))
    assert fault in " ".join(unmet(bounds(text("pyproject.toml")), found))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("python=3.11", "python=3.10", "does not satisfy"),
        ("- pip\n", "- pip\n  - brotli\n", "brotli of environment.yml is not in"),
        ("-c constraints.txt", "-r other.txt", "does not read constraints.txt"),
        ("notebooks,test", "notebooks,tests", "extra tests of environment.yml"),
        ("name: hyperlab", "name: lab", "is named lab"),
    ],
)
def test_a_wrong_environment_yml_is_found(old, new, fault):
    yml = text("environment.yml").replace(old, new)
    assert fault in " ".join(conda_faults(yml, text("pyproject.toml")))


@pytest.mark.parametrize("line", ["torch @ file:x.whl", "torch==2.15.0+cpu", "torch>=2"])
def test_a_line_that_is_not_a_plain_pin_is_found(line):
    with pytest.raises(AssertionError, match="is not name==version"):
        pins(line)


GROUPED = """
import os, pathlib, time
import pytest

@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("k", range(6))
def test_who(k):
    time.sleep(0.1)
    pathlib.Path(os.environ["PYTEST_XDIST_WORKER"]).touch()
"""


def test_tests_of_one_group_share_a_worker(tmp_path):
    (tmp_path / "test_grouped.py").write_text(GROUPED, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert len([*tmp_path.glob("gw*")]) == 1
