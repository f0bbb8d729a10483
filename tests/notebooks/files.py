"""The notebooks of the course, and a place to run copies of them."""

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PYTHON3 = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
}
SMOKE = {"scale": "smoke", "seed": 0}
HIDDEN = {
    "notebooks",
    "artifacts",
    "data",
}  # not seen from the copy: runs start from nothing

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def mirror(folder: Path) -> Path:
    """A copy of notebooks/ whose neighbours are links to the repository's own."""
    for neighbour in ROOT.iterdir():
        if neighbour.name not in HIDDEN and not neighbour.name.startswith("."):
            (folder / neighbour.name).symlink_to(neighbour)
    copy = folder / "notebooks"
    shutil.copytree(ROOT / "notebooks", copy, ignore=shutil.ignore_patterns(".*"))
    return copy
