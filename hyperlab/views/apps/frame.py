"""What every app has: rows that wrap, its state on one line of text, a watch on the kernel."""

import asyncio
import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import anywidget
import ipywidgets as w
import numpy as np
import traitlets as tr

from hyperlab.base import ConfigError
from hyperlab.views.apps.jobs import Job, beside_the_page, turns

WATCH = Path(__file__).with_name("watch.js")
PATIENCE_S = 3.0  # with a page that may have been closed
TROUBLES = (ConfigError, tr.TraitError, OverflowError, TypeError, ValueError)


class Watch(anywidget.AnyWidget):
    """The page asks for a sign of life when a control is used, and says so where none comes.

    In the page it also gives sliders the names that ipywidgets leaves out, and copies the line.
    """

    _esm = WATCH

    def __init__(self) -> None:
        super().__init__()
        self.watched = False  # by a page
        self.fits = True  # what was painted last, on the axes that are there
        self._pictures: dict[
            int, Callable[[], None]
        ] = {}  # that were sent; what waits for each
        self._numbers = count(1)
        self.on_msg(self._hear)

    def _hear(self, _: object, said: dict[str, int], buffers: object) -> None:
        self.watched = True
        if "asked" in said:
            self.send(said)
        self.fits = self.fits and said.get("fits", True)
        if seen := self._pictures.pop(said.get("drawn"), None):
            seen()

    def paint(self, points: Mapping[int, np.ndarray]) -> None:
        """Give some traces of the app's first plot other points, in the page alone.

        Axes and legend stay: a tenth of what the page does for an edit of the figure. The figure
        in the kernel does not hear of it: it has to be drawn when the run ends.

        Args:
            points: number of a trace -> x, y and, where they change, colours: 2 or 3 x n.
        """
        gaps = {n: np.where(np.isfinite(xy), xy, None) for n, xy in points.items()}
        self.send({"paint": [[n, *xy.tolist()] for n, xy in gaps.items()]})

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


def line_of(name: str, state: tr.HasTraits, seed: int) -> str:
    """The app's name, then what `state.SHARED` names and the notebook's seed, as JSON."""
    settings = {key: getattr(state, key) for key in state.SHARED} | {"notebook_seed": seed}
    return f"{name} {json.dumps(settings)}"


def go_to(name: str, state: tr.HasTraits, seed: int, line: str) -> None:
    """Bring the state to where a line says, or leave it as it is.

    Raises:
        ConfigError: the line is of another app or another seed, is cut, or names what is not here.
    """
    wanted = _read(name, state, line)
    if wanted.pop("notebook_seed") != seed:
        raise ConfigError(
            f"this line was made with another seed than {seed}: set the seed that it names "
            "in the notebook's `parameters` cell and run all cells again"
        )
    before = {key: getattr(state, key) for key in state.SHARED}
    try:
        _set(state, wanted)
    except TROUBLES as error:
        _set(state, before)
        raise ConfigError(f"this state is not possible here: {error}") from error


def _read(name: str, state: tr.HasTraits, line: str) -> dict[str, object]:
    app, _, rest = line.strip().partition(" ")
    if app != name:
        raise ConfigError(f"want a line that begins with {name!r}, got {app!r}")
    try:
        wanted = json.loads(rest)
    except json.JSONDecodeError as error:
        raise ConfigError(f"the line is cut or changed: {error}; copy it again") from error
    names = [*state.SHARED, "notebook_seed"]
    if not isinstance(wanted, dict) or set(wanted) != set(names):
        raise ConfigError(f"want values of {names}, got {rest[:80]}")
    return wanted


def _set(state: tr.HasTraits, values: dict[str, object]) -> None:
    for key in state.SHARED:
        if getattr(state, key) != values[key]:
            setattr(state, key, values[key])


def status(*lines: str) -> str:
    """Lines that a screen reader says when they change."""
    said = (f"<div>{html.escape(line)}</div>" for line in lines)
    return f'<div role="status">{"".join(said)}</div>'


class App(w.VBox):
    """Rows of controls, then views, then the line.

    Args:
        name: a word; the line begins with it.
        state: all rules are there. `SHARED` names what its line holds, in the order in which it
            is set.
        rows: controls side by side; they wrap where the window is narrow.
        views: figures, read-outs and pictures, one below the other.
        seed: of the notebook: it is on the line too.
    """

    def __init__(
        self,
        name: str,
        state: tr.HasTraits,
        *,
        rows: Sequence[list[w.Widget]],
        views: Sequence[w.Widget],
        seed: int = 0,
    ) -> None:
        self.name, self.state, self.seed = name, state, seed
        self.job, self.watch = Job(self.fail), Watch()
        self._around: object = None  # of what moves, in the figure as the kernel has it
        self._owed: Callable[[], None] | None = None  # draws what was only painted
        self.trouble = w.HTML()
        self.line = w.Text(
            description="state",
            tooltip="copy this line; paste another and press Go there",
            continuous_update=True,
            layout={"flex": "1 1 20em", "width": "auto"},
        )
        copy = w.Button(description="Copy", tooltip="copy the line")
        copy.add_class("hyperlab-copy")
        there = w.Button(
            description="Go there", tooltip="bring the app to the line's state"
        )
        there.on_click(lambda _: self.go(self.line.value))
        for button in (copy, there):
            button.layout.width = "auto"
        wrap = {"flex_flow": "row wrap"}
        self.rows, self.views = [w.HBox(row, layout=wrap) for row in rows], list(views)
        foot = w.HBox([self.line, copy, there], layout=wrap)
        super().__init__([*self.rows, *views, foot, self.trouble, self.watch])
        self.add_class("hyperlab-app")
        state.observe(self._tell)
        self._tell()

    def say(self, words: str) -> None:
        """What went wrong, below the app."""
        self.trouble.value = status(words)

    def fail(self, error: BaseException) -> None:
        """What ended a job."""
        self.say(f"Stopped. {type(error).__name__}: {error}")

    def press(self, act: Callable[[], None], _: object = None) -> None:
        """What a button does: it ends what was going on first."""
        self.job.stop()
        act()

    def play(self, _: object = None) -> None:
        """Let the state run: at its pace if it has one, no picture before the last is drawn."""
        self.trouble.value = ""
        turn = turns(lambda: getattr(self.state, "pace", math.inf), self.watch.drawn)

        async def run() -> None:
            try:
                with beside_the_page():
                    await self.state.run(turn)
            finally:
                self.rest()

        self.job.start(run())

    def show(
        self,
        draw: Callable[[], None],
        moving: Callable[[], Mapping[int, np.ndarray]],
        *,
        around: object,
    ) -> None:
        """Draw; in a run only paint what moves, as long as all around it stays the same.

        Args:
            draw: brings the figure in line with the state.
            moving: gives number of a trace -> its points, for those that a step changes.
            around: equal where nothing else has changed.
        """
        watch = self.watch
        stays = watch.watched and watch.fits and around == self._around
        if stays and self.job.going:
            self._owed = draw
            watch.paint(moving())
        else:
            self._owed, self._around, watch.fits = None, around, True
            draw()

    def rest(self) -> None:
        """After a run, however it ended, the figure in the kernel learns what was painted."""
        draw, self._owed = self._owed, None
        if draw is not None:
            draw()

    def go(self, line: str) -> None:
        """To the state of a line; where that is not possible, say why below the app."""
        self.trouble.value = ""
        try:
            go_to(self.name, self.state, self.seed, line)
        except ConfigError as error:
            self.say(str(error))
        self._tell()

    def _tell(self, _: object = None) -> None:
        self.line.value = line_of(self.name, self.state, self.seed)
