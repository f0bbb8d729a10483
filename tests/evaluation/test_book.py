"""A book holds what the runs showed, in pages that need neither kernel nor network."""

import json
import re

import ipywidgets as w
import nbformat
import plotly.graph_objects as go
import pytest
from course import book, recorded, runner
from ipywidgets.embed import dependency_state
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hyperlab.base import ArtifactError, ConfigError
from tests.notebooks.files import PYTHON3

PYTHON = {**PYTHON3, "language_info": {"name": "python", "pygments_lexer": "python"}}
PLOT = {"data": [{"y": [1, 2], "name": "</script>"}], "layout": {"width": 500}}


def models_of(widget):
    """A widget's saved state, and its key there."""
    return widget.model_id, dependency_state([widget], drop_defaults=False)


def shown(widget):
    return recorded.widget(*models_of(widget))


def drawn(html):
    """The figures inside a page."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', html)
    return [json.loads(text) for text in found]


def test_a_plot_is_its_json_and_no_wider_than_it_was_made():
    html = recorded.plot(PLOT)
    assert drawn(html) == [{"data": PLOT["data"], "layout": {}}]
    assert 'style="max-width:500px"' in html


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            w.Button(description="Step", tooltip="one step"),
            'title="one step">Step</button>',
        ),
        (w.ToggleButton(description="on", value=True), 'aria-pressed="true">on'),
        (w.Dropdown(options=["a", "b<c"], value="b<c"), "<option selected>b&lt;c<"),
        (w.Select(options=["a", "b"], value="b"), "<option selected>b<"),
        (w.SelectMultiple(options=["a", "b"], value=["b"]), "<option selected>b<"),
        (w.ToggleButtons(options=["a", "b"], value="b"), 'aria-pressed="true">b<'),
        (w.RadioButtons(options=["a", "b"], value="b"), 'aria-pressed="true">b<'),
        (w.IntSlider(value=3, description="n"), "<span>n</span>"),
        (w.FloatSlider(value=0.25), "<output>0.25</output>"),
        (w.IntRangeSlider(value=(2, 5)), "<output>2 to 5</output>"),
        (w.IntSlider(value=3, readout=False), "<output></output>"),
        (w.SelectionSlider(options=["x", "y"], value="y"), "<output>y</output>"),
        (w.Text(value='a "word"'), 'value="a &quot;word&quot;"'),
        (w.BoundedIntText(value=7, description="task"), 'value="7"'),
        (w.Textarea(value="lines"), ">lines</textarea>"),
        (w.Checkbox(value=True, description="tick"), "checked"),
        (w.HTML("<b>words</b>"), "<b>words</b>"),
        (w.Label("a < b"), "a &lt; b"),
        (w.IntProgress(value=4, max=9), 'max="9" value="4"'),
        (w.Image(value=b"picture", format="png"), "data:image/png;base64,cGljdHVyZQ=="),
        (w.Output(outputs=({"output_type": "stream", "text": "said"},)), "<pre>said</pre>"),
    ],
    ids=lambda made: type(made).__name__,
)
def test_a_control_shows_its_value(made, said):
    assert said in shown(made)
    assert said in shown(w.VBox([w.HBox([made])]))


def test_every_part_of_an_app_stands_in_its_frame():
    figure = go.FigureWidget(go.Scatter(y=[1, 2]))
    app = w.VBox([w.HBox([w.Button(description="Step")]), figure, w.HTML("read-out")])
    key, models = models_of(app)
    state = models[figure.model_id]["state"]
    now = figure.to_dict()
    state["_widget_data"], state["_widget_layout"] = now["data"], now["layout"]
    view = {"model_id": key}
    (output,) = recorded.frozen(
        new_output("display_data", data={recorded.VIEW: view}), models
    )
    html = output.data["text/html"]
    assert [f["data"][0]["y"] for f in drawn(html)] == [[1, 2]]
    for part in ("Step</button>", "read-out", recorded.NOTE, 'class="across"'):
        assert part in html


def test_an_unknown_control_is_named_and_invisible_ones_are_left_out():
    key, models = models_of(w.ColorPicker(description="ink"))
    assert "ink" in recorded.widget(key, models)
    assert "ColorPicker" in recorded.widget(key, models)
    models = {"quiet": {"model_name": "AnyModel", "state": {"_esm": "export default {}"}}}
    assert recorded.widget("IPY_MODEL_quiet", models) == ""
    assert recorded.widget("IPY_MODEL_gone", models) == ""
    hidden = w.Button(description="Step", layout={"display": "none"})
    assert shown(w.VBox([hidden])) == ""


def test_the_library_that_a_renderer_writes_into_the_page_is_left_out():
    library = {"text/html": "<script>window.PlotlyConfig = {};</script>"}
    figure = {recorded.PLOT: PLOT, "text/html": "<div>with a script</div>"}
    cell = new_code_cell("figure")
    cell.outputs = [new_output("display_data", data=d) for d in (library, figure)]
    notebook = new_notebook(cells=[cell], metadata={"widgets": {recorded.STATE: {}}})
    recorded.freeze(notebook)
    (kept,) = notebook.cells[0].outputs
    assert list(kept.data) == ["text/html"] and len(drawn(kept.data["text/html"])) == 1
    assert "widgets" not in notebook.metadata


def test_a_run_keeps_the_figure_that_an_app_shows_last(tmp_path):
    sources = [
        'scale = "laptop"',
        "import plotly.graph_objects as go\nfrom hyperlab.apps import page",
        "view = page.live(go.Figure(go.Scatter(y=[0])))\nview",
        "view.data[0].y = [1, 2, 3]\nview.layout.title = 'later'",
    ]
    cells = list(map(new_code_cell, sources))
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(new_notebook(cells=cells, metadata=PYTHON), tmp_path / "00_small.ipynb")
    done = runner.run(
        tmp_path / "00_small.ipynb", tmp_path / "done.ipynb", {"scale": "smoke"}
    )
    assert done.faults == ()
    notebook = nbformat.read(done.executed, as_version=4)
    recorded.freeze(notebook)
    (figure,) = drawn(notebook.cells[3].outputs[0].data["text/html"])
    assert figure["data"][0]["y"] == [1, 2, 3]
    assert figure["layout"]["title"]["text"] == "later"


def test_links_to_notebooks_that_are_not_there_become_words():
    text = "[00 A](notebooks/00_a.ipynb), [01 B](01_b.ipynb), [c](../results/c.md)"
    kept = book.without_absent(text, {"01_b.ipynb"})
    assert kept == "00 A, [01 B](01_b.ipynb), [c](../results/c.md)"


def test_one_cell_says_what_the_run_was_given():
    cells = [
        new_code_cell(
            'scale = "laptop"  # a dial\nseed = 0', metadata={"tags": ["parameters"]}
        ),
        new_code_cell("scale = 'smoke'", metadata={"tags": ["injected-parameters"]}),
    ]
    notebook = new_notebook(cells=cells)
    book.set_cells(notebook, {"scale": "smoke", "seed": 3})
    assert [c.source for c in notebook.cells] == ['scale = "smoke"  # a dial\nseed = 3']


def test_formulas_are_mathml_or_an_error():
    assert "<msub>" in book.mathml(r"\theta_0", "inline")
    assert "arg" in book.mathml(r"\arg\max_k x_k", "block")
    with pytest.raises(ArtifactError, match="nonsense"):
        book.mathml(r"\nonsense{x}", "inline")


@pytest.fixture
def small(tmp_path):
    """A repository of two notebooks, and the book of it."""
    root = tmp_path / "root"
    for folder in ("notebooks", "results", "hyperlab", "data_scripts"):
        (root / folder).mkdir(parents=True)
    texts = {
        "README.md": "# Small\n\n[00](notebooks/00_a.ipynb), [1](notebooks/01_b.ipynb), "
        "[facts](results/facts.json), [table](results/table.md)\n",
        "data_scripts/README.md": "# Scripts\n\nWords.\n",
        "CONTRIBUTING.md": "# Contribute\n\nWords.\n",
        "ARCHITECTURE.md": "# Rooms\n\nWords.\n",
        "results/table.md": "| a |\n|---|\n| 1 ± 2 |\n",
        "results/facts.json": "{}",
        "hyperlab/module.py": "x = 1\n",
        "constraints.txt": "",
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
    for name, words in (
        ("00_a", "# 00 A\n\n$x_0$ is less:\n$$y_1 = 2.$$"),
        ("01_b", "# 01 B\n\n[up](../README.md)"),
    ):
        cells = [new_markdown_cell(words), new_code_cell("1 + 1")]
        notebook = new_notebook(cells=cells, metadata=PYTHON)
        nbformat.write(notebook, root / "notebooks" / f"{name}.ipynb")
    return book.Book(
        root=root,
        out=tmp_path / "site",
        plotly_js="// plots",
        parameters={"scale": "smoke"},
    )


@pytest.fixture
def runs(monkeypatch):
    """The names of the notebooks that were run; a run copies, and has the faults of `.faults`."""

    class Names(list):
        faults = ()

    names = Names()

    def run(path, out, parameters, **_):
        names.append(path.stem)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(path.read_bytes())
        spent = {"seconds": 0.0, "cpu_seconds": 0.0, "peak_bytes": 0}
        return runner.Run(name=path.stem, executed=out, faults=names.faults, **spent)

    monkeypatch.setattr(runner, "run", run)
    return names


def notebooks(small):
    return sorted((small.root / "notebooks").glob("*.ipynb"))


def test_a_book_is_built_and_a_second_time_nothing_is_run(small, runs):
    pages = [
        p.relative_to(small.out).as_posix() for p in book.build(small, notebooks(small))
    ]
    assert {"index.html", "notebooks/00_a.html", "results/table.html"} <= set(pages)
    page = (small.out / "notebooks/00_a.html").read_text(encoding="utf-8")
    assert page.count("<msub>") == 2 and "$" not in page and "to run it yourself" in page
    assert 'href="../index.html"' in (small.out / "notebooks/01_b.html").read_text(
        encoding="utf-8"
    )
    front = (small.out / "index.html").read_text(encoding="utf-8")
    assert 'href="notebooks/00_a.html"' in front and "facts.json" in front
    assert (small.out / "_static/plotly.min.js").read_text(encoding="utf-8") == "// plots"
    before = {p: p.stat().st_mtime for p in (small.kept / "html").rglob("*_a.html")}
    book.build(small, notebooks(small))
    assert runs == ["00_a", "01_b"]
    assert {p: p.stat().st_mtime for p in before} == before  # not even set again


def test_what_changed_is_run_again(small, runs):
    paths = notebooks(small)
    book.run_once(small, paths[0])
    (small.root / "hyperlab" / "module.py").write_text("x = 2\n", encoding="utf-8")
    kept = book.run_once(small, paths[0])
    other = book.Book(**{**vars(small), "parameters": {"scale": "laptop"}})
    book.run_once(other, paths[0])
    assert runs == ["00_a"] * 3
    assert list(kept.parent.iterdir()) == [kept]


def test_a_run_over_other_data_is_another_run(small, runs, tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERLAB_DATA", str(tmp_path))
    (tmp_path / "usps").mkdir()
    for images in ("some", "some", "others"):
        if not runs or images == "others":
            (tmp_path / "usps" / "data.npz").write_text(images, encoding="utf-8")
        book.run_once(small, notebooks(small)[0])
    assert runs == ["00_a"] * 2


def test_a_fault_of_a_run_ends_the_build_and_the_book_before_stays(small, runs):
    book.build(small, notebooks(small))
    front = (small.out / "index.html").read_text(encoding="utf-8")
    runs.faults = ("cell 3: ValueError: no",)
    (small.root / "hyperlab" / "module.py").write_text("x = 2\n", encoding="utf-8")
    with pytest.raises(ArtifactError, match="00_a.ipynb: cell 3: ValueError: no"):
        book.build(small, notebooks(small))
    assert (small.out / "index.html").read_text(encoding="utf-8") == front
    assert not list((small.kept / "runs").rglob(".*"))


def test_a_broken_link_ends_the_build_every_time(small, runs):
    (small.root / "data_scripts/README.md").write_text(
        "# Scripts\n\n[no](nowhere.md)\n", encoding="utf-8"
    )
    for _ in range(2):
        with pytest.raises(ArtifactError, match=r"nowhere\.md"):
            book.build(small, notebooks(small))
    assert not small.out.exists()


def test_a_part_of_the_book_has_no_links_to_the_rest(small, runs):
    book.build(small, notebooks(small)[1:])
    assert runs == ["01_b"]
    assert "00_a" not in (small.out / "index.html").read_text(encoding="utf-8")


def test_a_folder_with_something_else_is_left_alone(small, runs):
    small.out.mkdir()
    (small.out / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no book"):
        book.build(small, notebooks(small))
    assert runs == [] and (small.out / "mine.txt").exists()
