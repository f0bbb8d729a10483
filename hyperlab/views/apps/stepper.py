"""The live Euler stepper: press Step and see what one step of the learned flow does to a task."""

import asyncio
import base64
import html
import io
from collections.abc import Callable, Coroutine, Sequence
from functools import partial

import ipywidgets as w
import numpy as np
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from plotly.basedatatypes import BaseFigure
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab import solvers
from hyperlab.views import figures, sheets
from hyperlab.views.apps.buttons import with_tips
from hyperlab.views.apps.stepper_state import LENGTHS, PACES, Reading, Stepper, Task

TILE, CAPTION, EDGE = 64, 20, 6  # pixels of an image, of the words below it, around both
RIGHT, WRONG = figures.OKABE_ITO[2], figures.OKABE_ITO[1]
# name -> Okabe-Ito number, dash and marker, and opacity
LOOKS = {
    "fine-tuning": (2, "dot", "diamond", 0.9),
    "path before": (6, "dash", "x", 0.4),
    "HyperFlow": (0, "solid", "circle", 1.0),
}
TIPS = {
    "Step": "one solver step",
    "Run": "to t = 1; from there to t = 2",
    "Pause": "stop the run",
    "Reset": "back to t = 0; the path stays as `path before`",
}


class Job:
    """One asyncio task at a time: a new one ends the one before.

    Args:
        failed: gets what a task raised; without it nobody would hear of it.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self.task: asyncio.Task | None = None
        self.failed = failed

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


def figure_of(state: Stepper) -> go.Figure:
    """Left the plane, right query accuracy and support loss against t."""
    cells = [[{"rowspan": 2}, {}], [None, {}]]
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=cells,
        column_widths=[0.55, 0.45],
        horizontal_spacing=0.12,
        vertical_spacing=0.12,
    )
    for place, (row, col) in {"plane": (1, 1), "accuracy": (1, 2), "loss": (2, 2)}.items():
        for name in LOOKS:
            trace = _trace(name, place, named=place == "plane")
            figure.add_trace(trace, row=row, col=col)
    start = {"size": 14, "symbol": "circle-open", "color": "black", "line": {"width": 3}}
    figure.add_scatter(
        x=[0], y=[0], mode="markers", marker=start, name="t = 0", row=1, col=1
    )
    figure.update_layout(template=figures.TEMPLATE, width=980, height=520)
    figure.update_xaxes(title="component 1 of fine-tuning", row=1, col=1)
    figure.update_yaxes(title="component 2", scaleanchor="x", row=1, col=1)
    figure.update_xaxes(range=[-0.04, 1.04], col=2)
    figure.update_xaxes(title="t", row=2, col=2)
    figure.update_yaxes(title="query accuracy", tickformat=".0%", row=1, col=2)
    figure.update_yaxes(title="support loss", row=2, col=2)
    figure.add_vline(x=1, line={"color": figures.GREY, "dash": "dot", "width": 1}, col=2)
    draw(figure, state)
    return figure


def _trace(name: str, place: str, *, named: bool) -> go.Scatter:
    number, dash, symbol, opacity = LOOKS[name]
    colour = figures.OKABE_ITO[number]
    return go.Scatter(
        x=[],
        y=[],
        name=name,
        meta=place,
        legendgroup=name,
        showlegend=named,
        opacity=opacity,
        line={"color": colour, "dash": dash, "width": 2},
        marker={"color": colour, "symbol": symbol, "size": 7},
        mode="lines+markers",
    )


def draw(figure: BaseFigure, state: Stepper) -> None:
    """Give every trace the points of its path."""
    paths = {
        "fine-tuning": state.task.truth,
        "path before": state.before,
        "HyperFlow": state.readings,
    }
    curves = {name: _curves(path, state.task) for name, path in paths.items()}
    furthest = max([1.0, *(r.t for path in paths.values() for r in path)])
    with figure.batch_update():
        for trace in figure.data:
            if trace.meta:
                trace.x, trace.y = curves[trace.name][trace.meta]
        figure.update_xaxes(range=[-0.04, furthest + 0.04], col=2)


def _curves(path: Sequence[Reading], task: Task) -> dict[str, np.ndarray]:
    if not path:
        return dict.fromkeys(("plane", "accuracy", "loss"), np.zeros((2, 0), np.float32))
    places = task.plane.to_plane(torch.stack([reading.theta for reading in path]))
    rows = np.array([(r.t, r.accuracy, r.loss) for r in path], np.float32).T
    return {
        "plane": places.T.numpy(),
        "accuracy": rows[[0, 1]],
        "loss": rows[[0, 2]],
    }


def query_picture(state: Stepper) -> Image.Image:
    """The query images, a row per class; below each what it is taken for, and whether rightly.

    Wrong ones have a frame and a cross; those that the last step made right a frame and a tick.
    """
    task, now = state.task, state.readings[-1]
    was, query = state.readings[max(0, state.done - 1)], task.episode.query
    rows = [torch.nonzero(query.labels == c).flatten().tolist() for c in range(query.n_way)]
    head, width, height = 90, TILE + 2 * EDGE, TILE + CAPTION + 2 * EDGE
    size = (head + width * max(map(len, rows)), height * len(rows))
    picture = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for c, row in enumerate(rows):
        name = f"class {task.tags[c]}"
        pen.text((4, height * (c + 0.5)), name, fill="black", font=font, anchor="lm")
        for column, i in enumerate(row):
            corner = (head + width * column, height * c)
            right, was_right = (bool(r.guesses[i] == c) for r in (now, was))
            frame = WRONG if not right else RIGHT if not was_right else "white"
            box = (*corner, corner[0] + width - 2, corner[1] + height - 2)
            pen.rectangle(box, outline=frame, width=3)
            tile = _tile(query.images[i])
            picture.paste(tile, (corner[0] + EDGE - 1, corner[1] + EDGE - 1))
            foot = (corner[0] + EDGE, corner[1] + EDGE + TILE + CAPTION // 2)
            _mark(pen, foot, right=right)
            words, at = task.tags[int(now.guesses[i])], (foot[0] + 22, foot[1])
            pen.text(at, words, fill="black", font=font, anchor="lm")
    return picture


def _tile(image: Float[Tensor, " 3 h w"]) -> Image.Image:
    tile = Image.fromarray(sheets.pixels(image))
    return tile.resize((TILE, TILE), Image.Resampling.NEAREST)


def _mark(pen: ImageDraw.ImageDraw, foot: tuple[int, int], *, right: bool) -> None:
    x, y = foot[0] + 3, foot[1]
    if right:
        strokes = [(x, y), (x + 4, y + 5), (x + 12, y - 5)]
        pen.line(strokes, fill=RIGHT, width=3)
    else:
        for end in (5, -5):
            pen.line([(x, y - end), (x + 10, y + end)], fill=WRONG, width=3)


def picture_html(picture: Image.Image, words: str) -> str:
    """The picture inside HTML, with words for those who do not see it."""
    file = io.BytesIO()
    picture.save(file, format="png")
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return f'<img style="max-width:100%" alt="{html.escape(words)}" src="{source}">'


class StepperView(w.VBox):
    """Step, run, pause, reset; choose network, solver, number of steps, domain and task.

    Args:
        state: all rules are there; here its traits are wired to controls and pictures.
    """

    def __init__(self, state: Stepper) -> None:
        self.state, self.job = state, Job(self.fail)
        self.opening = False  # a task is on its way
        self.controls, self.buttons = _controls(state), with_tips(TIPS)
        self.figure, self.picture = figures.live(figure_of(state)), w.HTML()
        names = ("trouble", "plane", "accuracy", "loss", "query")
        self.words = {name: w.HTML() for name in names}
        self._wire()
        self.redraw()
        controls = list(self.controls.values())
        rows = [controls[:4], controls[4:], list(self.buttons.values())]
        read_outs = self.words.values()
        super().__init__([*map(w.HBox, rows), self.figure, *read_outs, self.picture])

    def _wire(self) -> None:
        state, settings = self.state, ["net", "method", "steps", "length"]
        for name in (*settings, "pace"):
            tr.link((state, name), (self.controls[name], "value"))
        for name in ("domain", "task"):
            self.controls[name].observe(self._task_chosen, "value")
        acts = {"Step": state.step, "Pause": lambda: None, "Reset": state.reset}
        for name, act in acts.items():
            self.buttons[name].on_click(partial(self._pressed, act))
        self.buttons["Run"].on_click(lambda _: self.job.start(state.run()))
        state.observe(self.redraw, ["readings", *settings])

    def _pressed(self, act: Callable[[], None], _: object = None) -> None:
        self.job.stop()
        self.opening = False
        act()
        self._settle()

    def redraw(self, _: object = None) -> None:
        """Bring everything in line with the state."""
        draw(self.figure, self.state)
        for name in ("plane", "accuracy", "loss", "query"):
            self.words[name].value = _status(getattr(self.state, f"{name}_words")())
        picture = query_picture(self.state)
        self.picture.value = picture_html(picture, self.state.query_words())
        if not self.opening:
            self._settle()

    def _settle(self, trouble: str = "") -> None:
        """Controls show the task that is open; the buttons do what is possible."""
        self.words["trouble"].value = _status(trouble)
        self._enable(possible=self.state.left > 0)
        task = self.state.task
        for name, value in (("domain", task.domain), ("task", task.number)):
            self.controls[name].unobserve(self._task_chosen, "value")
            self.controls[name].value = value
            self.controls[name].observe(self._task_chosen, "value")

    def _enable(self, *, possible: bool) -> None:
        for name in ("Step", "Run"):
            self.buttons[name].disabled = not possible

    def _task_chosen(self, _: object) -> None:
        wanted = self.controls["domain"].value, self.controls["task"].value
        if wanted == (self.state.task.domain, self.state.task.number):
            self._pressed(lambda: None)
        else:
            self.job.start(self.open_task(*wanted))

    async def open_task(self, domain: str, number: int) -> None:
        """Fine-tune on another task in a thread, then go to it."""
        self.opening = True
        self.words["trouble"].value = _status(
            f"Fine-tuning on task {number} of {domain} ..."
        )
        self._enable(possible=False)
        task = await asyncio.to_thread(Task.open, self.state.bench, domain, number)
        self.opening = False
        self.state.adopt(task)

    def fail(self, error: BaseException) -> None:
        """Say what went wrong; the task before stays open."""
        self.opening = False
        self._settle(f"Stopped. {type(error).__name__}: {error}")


def stepper(state: Stepper) -> StepperView:
    """The app of notebook 07."""
    return StepperView(state)


def _controls(state: Stepper) -> dict[str, w.Widget]:
    def named(kind: type[w.Widget], words: str, **options: object) -> w.Widget:
        style = {"description_width": "initial"}
        return kind(description=words, style=style, layout={"width": "200px"}, **options)

    return {
        "domain": named(w.Dropdown, "domain", options=list(state.bench.domains)),
        "task": named(w.BoundedIntText, "task", min=0, max=9_999),
        "net": named(w.Dropdown, "network", options=list(state.bench.nets)),
        "method": named(w.Dropdown, "solver", options=list(solvers.STEPS)),
        "steps": named(w.BoundedIntText, "steps to t = 1", min=1, max=64),
        "length": named(w.Dropdown, "length factor", options=LENGTHS),
        "pace": named(w.Dropdown, "steps a second", options=PACES),
    }


def _status(words: str) -> str:
    return f'<div role="status">{html.escape(words)}</div>'
