"""The course as a static site: run, frozen, and set by Sphinx; a reader's browser stays at home.

Runs are kept and taken again where notebook, package, results and parameters are the same.
Formulas become MathML, so no fonts and no scripts are fetched for them.
"""

import hashlib
import io
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperlab.base import ArtifactError, ConfigError, Progress, silent
from hyperlab.tasks import domains

import nbformat
import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from . import recorded, runner

ASSETS = [Path(__file__).with_name(f"book.{end}") for end in ("css", "js", "svg")]
NOTEBOOK = re.compile(r"\[([^\]]*)\]\(((?:\w+/)?\d\d_\w+\.ipynb)\)")
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
FRONT = "index.md"  # the README
GUIDES = ("data_scripts/README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
SETTINGS = {
    "project": "hyperlab",
    "extensions": ["myst_nb", "course.book"],
    "html_theme": "furo",
    "html_title": "hyperlab",
    "html_favicon": "_static/book.svg",
    "html_static_path": ["_static"],
    "html_css_files": ["book.css"],
    "html_js_files": ["book.js"],
    "html_math_renderer": "mathml",
    "html_copy_source": False,
    "html_use_index": False,
    "html_show_copyright": False,
    "html_show_sphinx": False,
    "nb_execution_mode": "off",
    "myst_enable_extensions": ["dollarmath"],
    "myst_dmath_double_inline": True,  # a formula may follow its words without an empty line
    "myst_heading_anchors": 3,
}


@dataclass(frozen=True, kw_only=True)
class Book:
    """Where a book is made of what.

    Args:
        root: the repository: README.md, notebooks/, results/ and the guides.
        out: the folder of the site; what is kept for the next time lies beside it.
        plotly_js: the library that draws the plots, one file.
    """

    root: Path
    out: Path
    plotly_js: str
    parameters: runner.Parameters

    @property
    def kept(self) -> Path:
        return self.out.with_name(f"{self.out.name}_kept")


def build(book: Book, paths: Sequence[Path], *, progress: Progress = silent) -> list[Path]:
    """Run what has to be run, set the pages, put the site in place; its pages.

    Raises:
        ArtifactError: a notebook's run has a fault, or a page a broken link or formula.
        ConfigError: `out` is a folder with something else in it.
    """
    if book.out.exists() and not (book.out / "searchindex.js").exists():
        raise ConfigError(f"{book.out} is there and is no book; name another --out")
    executed = {}
    for path in progress(paths, total=len(paths), desc="notebooks"):
        executed[path.stem] = run_once(book, path)
    source = book.kept / "source"
    stage(files_of(book, executed), source)
    site = set_pages(source, book.kept)
    put_in_place(site, book.out)
    return sorted(book.out.rglob("*.html"))


def run_once(book: Book, path: Path) -> Path:
    """The executed copy of a notebook, from a run before if nothing has changed since."""
    name = f"{path.stem}.{digest(book, path)}.ipynb"
    kept = book.kept / "runs" / str(book.parameters.get("scale", "")) / name
    if kept.exists():
        return kept
    draft = kept.with_name(f".{name}")  # the ending has to stay
    try:
        done = runner.run(path, draft, book.parameters, cell_timeout_s=None)
        if done.faults:
            raise ArtifactError(f"{path.name}: {'; '.join(done.faults)}")
        draft.replace(kept)
    finally:
        draft.unlink(missing_ok=True)
    for other in kept.parent.glob(f"{path.stem}.*.ipynb"):
        if other != kept:
            other.unlink()
    return kept


def digest(book: Book, path: Path) -> str:
    """Twelve hex digits that change with all that a run may depend on here, real data included."""
    total = hashlib.sha256(repr(sorted(book.parameters.items())).encode())
    total.update(repr([domains.stamp(name) for name in domains.available()]).encode())
    parts = [path, book.root / "constraints.txt"]
    for folder in ("hyperlab", "results"):
        parts += [
            p for p in (book.root / folder).rglob("*") if "__pycache__" not in p.parts
        ]
    apart = {"book.py", "recorded.py", *(asset.name for asset in ASSETS)}  # after the run
    for part in sorted(p for p in parts if p.is_file() and p.name not in apart):
        total.update(str(part.relative_to(book.root)).encode() + part.read_bytes())
    return total.hexdigest()[:12]


def files_of(book: Book, executed: Mapping[str, Path]) -> dict[str, bytes]:
    """Name -> content of all that Sphinx reads, laid out as the repository is."""
    there = {f"{name}.ipynb" for name in executed}
    texts = {
        f"notebooks/{name}.ipynb": nbformat.writes(page(book, path, there))
        for name, path in executed.items()
    }
    readme = unbroken(book.root / "README.md")
    texts[FRONT] = without_absent(readme, there) + contents(sorted(executed))
    for guide in GUIDES:
        texts[guide] = (book.root / guide).read_text(encoding="utf-8")
    for path in sorted((book.root / "results").glob("*.md")):
        texts[f"results/{path.name}"] = titled(path)
    texts["results/index.md"] = evidence(book.root)
    files = {name: text.encode() for name, text in texts.items()}
    for name in sorted(linked(texts, book.root) - set(texts)):
        files[name] = (book.root / name).read_bytes()
    files |= {f"_static/{path.name}": path.read_bytes() for path in (*ASSETS, math_font())}
    return files | {"_static/plotly.min.js": book.plotly_js.encode()}


def math_font() -> Path:
    """STIX Two Math, under the Open Font License, for machines without a font for formulas."""
    return Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"


def stage(files: Mapping[str, bytes], source: Path) -> None:
    """Make a folder hold these files and no others.

    Sphinx reads again what is newer, so a file that is the same is left alone.
    """
    for name, content in files.items():
        path = source / name
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in [p for p in source.rglob("*") if p.is_file()]:
        if path.relative_to(source).as_posix() not in files:
            path.unlink()


def page(book: Book, path: Path, there: set[str]) -> NotebookNode:
    """An executed notebook without what only a kernel needs, with links that lead somewhere."""
    notebook = nbformat.read(path, as_version=4)
    recorded.freeze(notebook)
    set_cells(notebook, book.parameters)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = without_absent(cell.source, there)
            cell.source = cell.source.replace("](../README.md", f"](../{FRONT}")
    parameters = ", ".join(f"{name} = {value!r}" for name, value in book.parameters.items())
    words = f"Recorded with `{parameters}`; to run it yourself: `make lab`."
    notebook.cells.insert(1, new_markdown_cell(words, id="recorded-with"))
    notebook.metadata.pop("papermill", None)
    return notebook


def set_cells(notebook: NotebookNode, parameters: runner.Parameters) -> None:
    """One `parameters` cell that says what the run had, in place of two."""
    notebook.cells = [
        c for c in notebook.cells if "injected-parameters" not in runner.tags(c)
    ]
    for cell in notebook.cells:
        if "parameters" in runner.tags(cell):
            for name, value in parameters.items():
                pattern = rf"^{name} = \S+"
                cell.source = re.sub(
                    pattern, f"{name} = {quoted(value)}", cell.source, flags=re.MULTILINE
                )


def quoted(value: str | int) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def without_absent(text: str, there: set[str]) -> str:
    """Links to notebooks that this book leaves out become their words."""
    present = lambda m: m[0] if Path(m[2]).name in there else m[1]  # noqa: E731
    return NOTEBOOK.sub(present, text)


def contents(names: Iterable[str]) -> str:
    """The tables of contents at the side, as MyST reads them."""
    course_of = "\n".join(f"notebooks/{name}" for name in names)
    rest = "\n".join(["results/index", *(guide.removesuffix(".md") for guide in GUIDES)])
    tree = "\n\n```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```\n"
    return tree.format("The course", course_of) + tree.format("Beside it", rest)


def titled(path: Path) -> str:
    """A table of results; without a heading it gets its name as one."""
    text, name = unbroken(path), path.stem.replace("_", " ").capitalize()
    return text if text.startswith("# ") else f"# {name}\n\n{text}"


def unbroken(path: Path) -> str:
    """The text of a file, no line of which will end between a number and its interval."""
    return path.read_text(encoding="utf-8").replace(" ± ", "\u00a0±\u00a0")


def evidence(root: Path) -> str:
    names = "\n".join(sorted(path.stem for path in (root / "results").glob("*.md")))
    words = "One page per claim, each made by the script that it names."
    return f"# Results\n\n{words}\n\n```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n"


def linked(texts: Mapping[str, str], root: Path) -> set[str]:
    """Files of the repository that the pages link to."""
    found = set()
    for name, text in texts.items():
        if name.endswith((".md", ".ipynb")):
            places = ((root / name).parent / link for link in LINK.findall(text))
            found |= {p.resolve() for p in places if p.is_file()}
    home = root.resolve()
    return {p.relative_to(home).as_posix() for p in found if p.is_relative_to(home)}


def set_pages(source: Path, kept: Path) -> Path:
    """Let Sphinx make the site; a warning of it is an error here."""
    warnings_text, html = io.StringIO(), kept / "html"
    with patch_docutils(), docutils_namespace():
        setter = Sphinx(
            srcdir=source,
            confdir=None,
            outdir=html,
            doctreedir=kept / "doctrees",
            buildername="html",
            confoverrides=SETTINGS,
            status=None,
            warning=warnings_text,
        )
        setter.build()
    if warnings := re.sub(r"\x1b\[[\d;]*m", "", warnings_text.getvalue()).strip():
        shutil.rmtree(kept / "doctrees")  # or the next time would not say it again
        shortened = warnings.replace(f"{source}/", "")
        raise ArtifactError(f"the book has faults: {shortened}")
    return html


def put_in_place(site: Path, out: Path) -> None:
    """Exchange the site as a whole."""
    apart = shutil.ignore_patterns(".buildinfo", "objects.inv", "_sources")
    draft, before = out.with_name(f".{out.name}_new"), out.with_name(f".{out.name}_old")
    for folder in (draft, before):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(site, draft, ignore=apart)
    if out.exists():
        out.rename(before)
    draft.rename(out)
    shutil.rmtree(before, ignore_errors=True)


def mathml(formula: str, display: str) -> str:
    """LaTeX as MathML.

    Raises:
        ArtifactError: a command that the converter does not know.
    """
    known = re.sub(r"\\arg(?![a-z])", r"\\operatorname{arg}\\,", formula)
    found = convert(known, display=display)
    if "\\" in found:
        raise ArtifactError(f"cannot write as MathML: {formula}")
    return found


def _inline(page: nodes.NodeVisitor, node: nodes.math) -> None:
    page.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(page: nodes.NodeVisitor, node: nodes.math_block) -> None:
    page.body.append(mathml(node.astext(), "block"))
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls: this module is one of its extensions."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
