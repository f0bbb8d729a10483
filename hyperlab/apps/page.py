"""The page's side of an app: signs of life, painted pictures, and runs that wait for it."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path

import anywidget
import numpy as np
import plotly.graph_objects as go
import torch
from plotly.basedatatypes import BaseFigure, BaseTraceType

from hyperlab.views.figures import CONFIG, plain

SCRIPT = Path(__file__).with_name("page.js")
PATIENCE_S = 3.0  # with a page that may have been closed
ON_THE_WAY = 2  # pictures that the page may be behind
BREATH_S = 0.01  # for messages: a press on Pause waits behind what the page answers
Points = Mapping[str | int, object]  # trace -> x, y, colours; or its properties
Turn = Callable[[], Awaitable[None]]


class Live(go.FigureWidget):
    """A figure widget that does not ask what plotly.js fills in: nothing here wants to know.

    To hear it after every drawing would cost the kernel time in every run.
    """

    def _handler_js2py_traceDeltas(self, change: dict) -> None:  # noqa: N802
        """Takes the place of an observer of `go.FigureWidget`."""


def live(figure: go.Figure) -> go.FigureWidget:
    """The figure as a widget that redraws when its traces change (5 MB each, so few)."""
    widget = Live(figure)
    widget._config = widget._config | CONFIG
    return widget


class Page(anywidget.AnyWidget):
    """The page asks for a sign of life when a control is used, and says so where none comes.

    In the page it also gives sliders the names that ipywidgets leaves out, and copies the line.
    """

    _esm = SCRIPT

    def __init__(self) -> None:
        super().__init__()
        self.watched = False  # by a page
        self.fits = True  # what was painted last, on the axes that are there
        self._pictures: dict[int, Callable[[], None]] = {}  # sent; what waits for each
        self._numbers = count(1)
        self.on_msg(self._hear)

    def _hear(self, _: object, message: dict[str, int], buffers: object) -> None:
        self.watched = True
        if "asked" in message:
            self.send(message)
        self.fits = self.fits and message.get("fits", True)
        if seen := self._pictures.pop(message.get("drawn"), None):
            seen()

    def paint(self, points: Mapping[int, list[np.ndarray]]) -> None:
        """Give some traces of the app's first plot other points, in the page alone.

        Axes and legend stay: a tenth of what the page does for an edit of the figure. The figure
        in the kernel does not hear of it: it has to be drawn when the run ends.

        Args:
            points: number of a trace -> x, y and, where they change, colours.
        """
        gaps = {
            n: [np.where(np.isfinite(row), row, None).tolist() for row in np.array(rows)]
            for n, rows in points.items()
        }
        self.send({"paint": [[n, *rows] for n, rows in gaps.items()]})

    async def drawn(self) -> None:
        """Wait until the page shows all that it was sent; not where there never was one."""
        if not self.watched:
            return
        seen, loop = asyncio.Event(), asyncio.get_running_loop()
        number = next(self._numbers)
        self._pictures[number] = partial(loop.call_soon_threadsafe, seen.set)
        self.send({"draw": number})
        # Not wait_for: it swallows a cancel that comes with the answer (bpo-37658).
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await seen.wait()
        self._pictures.pop(number, None)


def numbers(figure: BaseFigure) -> dict[str, int]:
    """What `traces` calls a trace, its `meta` or else its name -> its number."""
    return {trace.meta or trace.name: i for i, trace in enumerate(figure.data)}


def draw(figure: BaseFigure, points: Points, layout: Mapping[str, object]) -> None:
    """Give the traces their points, and the layout what changes with them."""
    place = numbers(figure)
    with figure.batch_update():
        for key, given in points.items():
            trace = figure.data[key if isinstance(key, int) else place[key]]
            trace.update(_properties(given))
        if layout:
            figure.update_layout(**layout)


def _properties(given: object) -> dict[str, object]:
    if isinstance(given, BaseTraceType):
        return {name: v for name, v in given.to_plotly_json().items() if name != "type"}
    if not isinstance(given, dict):
        given = dict(zip(("x", "y", "marker_color"), given, strict=False))
    return {name: plain(values) for name, values in given.items()}


class Painter:
    """Draws a state; in a run only what moves, as long as all around it stays the same.

    Args:
        figure: as the kernel has it.
    """

    def __init__(self, figure: BaseFigure, state: object, page: Page) -> None:
        self.figure, self.state, self.page = figure, state, page
        self.owed = False  # a drawing, of what was only painted
        self._around: object = None
        self._layout: object = None  # sent only when it changes: a reader may have zoomed

    def show(self, *, running: bool) -> None:
        """Draw, or paint."""
        state, page, around = self.state, self.page, self.state.around()
        stays = page.watched and page.fits and around is not None and around == self._around
        self.owed = bool(running and stays)
        if self.owed:
            place, moving = numbers(self.figure), state.moving()
            arrays = {key: [plain(v) for v in values] for key, values in moving.items()}
            page.paint({place[key]: values for key, values in arrays.items()})
        else:
            self._around, page.fits, layout = around, True, state.layout()
            draw(self.figure, state.traces(), {} if layout == self._layout else layout)
            self._layout = layout

    def rest(self) -> None:
        """After a run, however it ended, the figure in the kernel learns what was painted."""
        if self.owed:
            self.show(running=False)


async def at_once() -> None:
    """The turn of a run that nobody watches; others get theirs meanwhile."""
    await asyncio.sleep(0)


@contextmanager
def beside_the_page() -> Iterator[None]:
    """Leave a processor core to the browser: threads of two that share one wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before - 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def turns(pace: Callable[[], float] = lambda: math.inf, drawn: Turn = at_once) -> Turn:
    """What a run awaits before each picture: so the page is never behind.

    Args:
        pace: pictures a second, asked anew for each.
        drawn: returns when the last picture is on the screen.
    """
    due, on_the_way = 0.0, deque()

    async def turn() -> None:
        nonlocal due
        now = asyncio.get_running_loop().time
        if len(on_the_way) == ON_THE_WAY:
            await on_the_way.popleft()
        await asyncio.sleep(max(BREATH_S, due - now()))
        due = now() + 1 / pace()
        on_the_way.append(asyncio.ensure_future(drawn()))  # asks when the run next awaits

    return turn


class Job:
    """One asyncio task at a time: a new one ends the one before.

    Args:
        failed: gets what a task raised; without it nobody would hear of it.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.task: asyncio.Task | None = None
        self.failed = failed

    @property
    def going(self) -> bool:
        """Whether a task is at work."""
        return self.task is not None and not self.task.done()

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Begin `work` on the kernel's loop; where no loop runs, do all of it now."""
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(work)
            return
        self.task = loop.create_task(work)
        self.task.add_done_callback(self._ended)

    def stop(self) -> None:
        """End the task, if one runs."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def _ended(self, task: asyncio.Task) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)
            raise error
