"""The reader edition is the course, less the solutions, and it runs."""

import nbformat
import pytest
import write_exercises
from course import runner
from course.runner import tags
from nbformat.v4 import new_notebook

from hyperlab.base import ArtifactError, ConfigError
from tests.notebooks.files import NOTEBOOKS, ROOT, SMOKE, each_notebook
from tests.notebooks.test_form import LINK, cell


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """A folder with the reader edition of the whole course."""
    out = tmp_path_factory.mktemp("edition") / "exercises"
    assert write_exercises.write(NOTEBOOKS, out) == [out / path.name for path in NOTEBOOKS]
    return out


def pairs(path, edition):
    """(cell of the source, cell of the edition) in order."""
    both = (nbformat.read(file, as_version=4) for file in (path, edition / path.name))
    source, found = both
    assert source.metadata == found.metadata
    return list(zip(source.cells, found.cells, strict=True))


@each_notebook
def test_it_differs_in_the_solution_cells_alone(path, edition):
    cells = pairs(path, edition)
    behind = [place + 1 for place, (cell, _) in enumerate(cells) if "check" in tags(cell)]
    assert [i for i, (source, found) in enumerate(cells) if source != found] == behind
    for source, found in (cells[place] for place in behind):
        assert {**source, "source": ""} == {**found, "source": ""}


@each_notebook
def test_it_is_sound_and_holds_no_solution(path, edition):
    nbformat.validate(nbformat.read(edition / path.name, as_version=4))
    cells = pairs(path, edition)
    whole = "\n\n".join(found.source for _, found in cells)
    assert "<summary>Solution</summary>" not in whole
    for (check, _), (hidden, found) in zip(cells, cells[1:], strict=False):
        if "check" in tags(check):
            assert runner.solution(hidden) not in whole
            (link,) = LINK.findall(found.source)
            assert (edition / link).resolve() == path.resolve()


@pytest.mark.notebook
def test_it_runs_and_every_check_waits_for_an_answer(notebooks):
    out = notebooks.parent / "exercises"
    (path,) = write_exercises.write([notebooks / "00_welcome.ipynb"], out)
    done = runner.run(path, notebooks.parent / "out" / path.name, SMOKE)
    assert not done.faults
    cells = runner.read(done.executed).cells
    said = [runner.verdict(cell) for cell in cells if "check" in tags(cell)]
    assert len(said) >= 2 and all(text.startswith("not yet: ") for text in said)


def test_it_is_written_whole_or_not_at_all(tmp_path):
    lonely = new_notebook(
        cells=[cell("x = ...", "exercise"), cell("check_x(x)", "check"), cell("x = 1")]
    )
    nbformat.write(lonely, tmp_path / "01_lonely.ipynb")
    with pytest.raises(ArtifactError, match="must be followed"):
        write_exercises.write(
            [NOTEBOOKS[0], tmp_path / "01_lonely.ipynb"], tmp_path / "out"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["01_lonely.ipynb"]


def test_a_check_at_the_very_end_is_refused(tmp_path):
    nbformat.write(new_notebook(cells=[cell("c()", "check")]), tmp_path / "00_end.ipynb")
    with pytest.raises(ArtifactError, match="stand between"):
        write_exercises.write([tmp_path / "00_end.ipynb"], tmp_path / "out")


def test_a_readers_answers_are_never_written_over(edition):
    before = {path: path.read_bytes() for path in edition.iterdir()}
    with pytest.raises(ConfigError, match="may hold your answers"):
        write_exercises.write(NOTEBOOKS, edition)
    assert before == {path: path.read_bytes() for path in edition.iterdir()}


def test_no_notebooks_are_no_edition(tmp_path):
    with pytest.raises(ConfigError, match="no notebooks"):
        write_exercises.write([], tmp_path / "out")


def test_it_stands_beside_the_notebooks_and_out_of_version_control():
    assert "/exercises/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
