"""Runs the course without a screen and finds the faults that a run keeps to itself.

papermill alone calls a run good when a parameter's name is unknown to the notebook, when an
`Output` widget swallowed an exception, and when an asyncio task died unseen. Here each of
these is a fault. Tags read: `exercise`, `check`, `keep_output`, as written down in
tests/notebooks/test_form.py.
"""

import html
import json
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hyperlab.base import ArtifactError, ConfigError, Progress, silent, whole_file

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

Parameters = Mapping[str, str | int]

LOST = "Task exception was never retrieved"  # asyncio's words
STATE = "application/vnd.jupyter.widget-state+json"
FIGURES = {
    "PLOTLY_RENDERER": "plotly_mimetype+notebook"
}  # they show in the HTML copies too
OFFLINE = {
    "HF_HUB_OFFLINE": "1"
}  # at smoke scale weights come from the package or the cache
# The first and the last cell of every run, taken out of the copy afterwards.
WATCH = """
import asyncio
_faults = []
asyncio.get_running_loop().set_exception_handler(
    lambda loop, context: _faults.append(
        f"lost asyncio task: {context.get('exception') or context['message']!r}"
    )
)
"""
PROBE = """
import asyncio, gc, json, pathlib, resource, sys, time
import hyperlab

def _ours(thing):
    code = getattr(thing.get_coro(), "cr_code", None)
    places = ("ipykernel_", hyperlab.__path__[0])
    return code is not None and any(place in code.co_filename for place in places)

_tasks = [t for t in gc.get_objects() if issubclass(type(t), asyncio.Task) and _ours(t)]
if _tasks:
    await asyncio.wait(_tasks, timeout=1)
def _is_figure(thing):
    return any(kind.__name__ == "FigureWidget" for kind in type(thing).__mro__)

for _figure in filter(_is_figure, gc.get_objects()):
    _now = _figure.to_dict()  # plain JSON; a saved state holds what it was made with
    _figure._widget_data, _figure._widget_layout = _now["data"], _now["layout"]
gc.collect()
_faults += [f"still running: {t.get_coro().__qualname__}" for t in _tasks if not t.done()]
_dead = [t for t in _tasks if t.done() and not t.cancelled() and t._log_traceback]
_faults += [f"lost asyncio task: {t.exception()!r}" for t in _dead]
_status = pathlib.Path("/proc/self/status")
if _status.exists():
    _peak = int(_status.read_text().split("VmHWM:")[1].split()[0]) * 1024
else:
    _unit = 1 if sys.platform == "darwin" else 1024
    _peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _unit
_used = {"cpu_seconds": time.process_time(), "peak_bytes": _peak}
print(json.dumps(_used | {"faults": _faults}))
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one notebook did."""

    name: str  # file name without its ending
    executed: Path  # the copy with outputs
    seconds: float  # wall time, the kernel's start included
    cpu_seconds: float  # of the kernel, all threads; 0 when it did not reach the end
    peak_bytes: int  # most resident memory of the kernel; 0 as well
    faults: tuple[str, ...]  # one sentence each; empty when all is well


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def read(path: Path) -> NotebookNode:
    """The notebook, in the form of format 4."""
    return nbformat.read(path, as_version=4)


def save(notebook: NotebookNode, path: Path) -> None:
    """Write the notebook, whole or not at all.

    Raises: ArtifactError if it is not a notebook of its format.
    """
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        raise ArtifactError(f"{path.name} is no sound notebook: {error.message}") from error
    with whole_file(path) as draft:
        nbformat.write(notebook, draft)


def check_parameters(path: Path, parameters: Parameters) -> None:
    """Refuse a name that the notebook's `parameters` cell does not set."""
    known = set(papermill.inspect_notebook(str(path)))
    if unknown := sorted(set(parameters) - known):
        raise ConfigError(f"{path.name} has no parameter {unknown}; it has {sorted(known)}")


def prepare(path: Path, out: Path, parameters: Parameters) -> NotebookNode:
    """A copy at `out` with the parameters set and nothing executed."""
    check_parameters(path, parameters)
    quiet = {"progress_bar": False, "prepare_only": True}
    return papermill.execute_notebook(str(path), str(out), dict(parameters), **quiet)


def run(
    path: Path,
    out: Path,
    parameters: Parameters,
    *,
    rehearse: bool = False,
    cell_timeout_s: int | None = 600,
) -> Run:
    """Execute a notebook in its own folder, write the copy to `out`, say what went wrong.

    Args:
        out: the file to write.
        rehearse: also solve each exercise: its check must pass the solution.

    Raises: ConfigError for a parameter that the notebook does not have.
    """
    check_parameters(path, parameters)
    notebook = read(path)
    if rehearse:
        notebook.cells = list(rehearsed(notebook.cells))
    watch, probe = (new_code_cell(s, metadata={"tags": ["probe"]}) for s in (WATCH, PROBE))
    notebook.cells = [watch, *notebook.cells, probe]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)  # else a kernel that dies at once leaves the run before it
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, path.name)
        nbformat.write(notebook, source)
        started = time.perf_counter()
        raised = execute(source, out, parameters, path.parent, cell_timeout_s)
        seconds = time.perf_counter() - started
    done = read(out if out.exists() else path)
    seen = take_probe(done)
    nbformat.write(done, out)
    found = (*raised, *faults_of(done), *seen["faults"])
    used = {name: seen[name] for name in ("cpu_seconds", "peak_bytes")}
    faults = tuple(dict.fromkeys(found))
    return Run(name=path.stem, executed=out, seconds=seconds, faults=faults, **used)


def faults_of(notebook: NotebookNode) -> Iterator[str]:
    """What an executed notebook holds that its run kept to itself."""
    for look in (swallowed, lost, unsolved):
        yield from look(notebook)


def execute(
    source: Path, out: Path, parameters: Parameters, cwd: Path, cell_timeout_s: int | None
) -> list[str]:
    """Run `source` with papermill; what it raised, as a list of at most one sentence."""
    try:
        with environment(parameters):
            papermill.execute_notebook(
                str(source),
                str(out),
                dict(parameters),
                cwd=str(cwd),
                kernel_name="python3",
                progress_bar=False,
                execution_timeout=cell_timeout_s,
                store_widget_state=True,
            )
    except papermill.PapermillExecutionError as error:
        return [f"cell {error.cell_index - 1}: {error.ename}: {error.evalue}"]
    except (CellTimeoutError, DeadKernelError) as error:
        return [f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"]
    return []


@contextmanager
def environment(parameters: Parameters) -> Iterator[None]:
    """Environment variables that new kernels inherit, put back afterwards."""
    before = dict(os.environ)
    os.environ.update(FIGURES | (OFFLINE if parameters.get("scale") == "smoke" else {}))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def take_probe(notebook: NotebookNode) -> dict:
    """Remove the probe's cells and return what they saw; nothing if they were not reached."""
    probes = [cell for cell in notebook.cells if "probe" in tags(cell)]
    notebook.cells = [cell for cell in notebook.cells if "probe" not in tags(cell)]
    for output in (output for cell in probes for output in cell.outputs):
        if output.get("name") == "stdout":
            return json.loads(output.text.splitlines()[-1])
    return {"cpu_seconds": 0.0, "peak_bytes": 0, "faults": []}


def swallowed(notebook: NotebookNode) -> Iterator[str]:
    """Exceptions that `with Output():` or `@interact` kept inside a widget."""
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for model in models.values():
        for output in model["state"].get("outputs", ()):
            if model["model_name"] == "OutputModel" and output["output_type"] == "error":
                yield f"inside an Output widget: {output['ename']}: {output['evalue']}"


def lost(notebook: NotebookNode) -> Iterator[str]:
    """asyncio tasks that died and were collected before anybody asked."""
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr" and LOST in output.text:
                last = output.text.strip().splitlines()[-1]
                yield f"lost asyncio task, said in cell {index}: {last}"


def solution(cell: NotebookNode) -> str:
    """The code of a hidden solution: the one python block inside <details>."""
    blocks = re.findall(r"```python\n(.*?)\n```", cell.source, flags=re.DOTALL)
    if "<summary>Solution</summary>" not in cell.source or len(blocks) != 1:
        raise ArtifactError(
            "a `check` cell must be followed by a markdown cell with "
            f"<summary>Solution</summary> and one ```python block: {cell.source[:80]!r}"
        )
    return blocks[0]


def exercises(
    cells: Sequence[NotebookNode],
) -> Iterator[tuple[NotebookNode, NotebookNode, NotebookNode]]:
    """(stub, check, hidden solution) of each exercise, the cells themselves.

    Raises: ArtifactError for a check that does not stand between the other two.
    """
    for place, cell in enumerate(cells):
        if "check" in tags(cell):
            three = cells[max(place - 1, 0) : place + 2]
            if len(three) != 3 or "exercise" not in tags(three[0]):
                raise ArtifactError("a `check` cell must stand between stub and solution")
            yield tuple(three)


def rehearsed(cells: Sequence[NotebookNode]) -> Iterator[NotebookNode]:
    """The cells, and after each `check`: the solution, the check again, the stub again."""
    parts = {id(check): (stub, hidden) for stub, check, hidden in exercises(cells)}
    for cell in cells:
        yield cell
        if id(cell) in parts:
            stub, hidden = parts[id(cell)]
            yield new_code_cell(solution(hidden), metadata={"tags": ["rehearsal"]})
            yield new_code_cell(cell.source, metadata={"tags": ["rehearsed-check"]})
            yield new_code_cell(stub.source, metadata={"tags": ["rehearsal"]})


def unsolved(notebook: NotebookNode) -> Iterator[str]:
    """Checks that did not say 'not yet' to a stub, or 'passed' to a solution."""
    for cell in notebook.cells:
        for tag, expected in (("check", "not yet:"), ("rehearsed-check", "passed:")):
            if tag in tags(cell) and cell.execution_count is not None:
                outcome = verdict(cell)
                if not outcome.startswith(expected):
                    yield f"`{cell.source}` should say {expected!r}, said {outcome!r}"


def verdict(cell: NotebookNode) -> str:
    for output in cell.outputs:
        if output.output_type == "execute_result":
            return output.data.get("text/plain", "")
    return ""


def store_golden(path: Path, executed: Path) -> int:
    """Copy the outputs of `keep_output` cells into the notebook; how many there were."""
    fresh = {cell.id: cell for cell in read(executed).cells}
    notebook = read(path)
    golden = [cell for cell in notebook.cells if "keep_output" in tags(cell)]
    for cell in golden:
        cell.outputs, cell.execution_count = fresh[cell.id].outputs, None
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
    save(notebook, path)
    return len(golden)


def run_all(
    paths: Sequence[Path], out: Path, parameters: Parameters, *, progress: Progress = silent
) -> list[Run]:
    """Run notebooks one after the other; copies, HTML and index.html go to folder `out`."""
    runs: list[Run] = []
    for path in progress(paths, total=len(paths), desc="notebooks"):
        runs.append(run(path, out / path.name, parameters))
        body, _ = HTMLExporter().from_filename(str(runs[-1].executed))
        (out / f"{path.stem}.html").write_text(body, encoding="utf-8")
        write_index(runs, out)
    return runs


def write_index(runs: Sequence[Run], out: Path) -> Path:
    """index.html: one row a notebook, with links to the executed copies."""
    rows = "\n".join(map(row, runs))
    index = out / "index.html"
    with whole_file(index) as draft:
        draft.write_text(PAGE.format(rows=rows), encoding="utf-8")
    return index


def row(done: Run) -> str:
    outcome = "<br>".join(map(html.escape, done.faults)) or "passed"
    cells: Iterable[str] = (
        f'<a href="{done.name}.html">{done.name}</a>',
        f'<a href="{done.executed.name}">ipynb</a>',
        outcome,
        f"{done.seconds:.1f}",
        f"{done.peak_bytes / 2**20:.0f}",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>hyperlab: the course, executed</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 60rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ padding: .4rem .8rem; text-align: left; border-bottom: 1px solid #ddd; }}
td:nth-child(n+4), th:nth-child(n+4) {{ text-align: right; }}
</style></head><body>
<h1>The course, executed</h1>
<table>
<tr><th>notebook</th><th>file</th><th>status</th><th>seconds</th><th>peak MiB</th></tr>
{rows}
</table></body></html>
"""
