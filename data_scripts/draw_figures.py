"""Draw the README's picture: the stepper of notebook 07, 40 steps on a task; GIF, PNG, JSON.

A figure for every step, drawn by a browser, kept as one film.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from hyperlab import params
from hyperlab.apps.bench import Bench, Reading, Task, unseen
from hyperlab.apps.query_picture import RIGHT, WRONG
from hyperlab.apps.stepper import Stepper
from hyperlab.base import ConfigError, choose, whole_file
from hyperlab.evaluation import timing
from hyperlab.hyperflow import jacobian_flow
from hyperlab.models import targets
from hyperlab.views import figures, images

import plotly.graph_objects as go
import plotly.io as pio
import torch
import typer
from jaxtyping import Float, Int
from PIL import Image
from plotly.subplots import make_subplots
from torch import Tensor
from tqdm import tqdm

import script
import study

WIDTH, HEIGHT = 880, 570  # pixels
N_IMAGES = 15  # query images below the panels
START_MS, STEP_MS, END_MS = 1_200, 220, 4_000  # how long a picture stays
N_COLOURS = 128  # of the GIF
PANELS = {
    "plane": ("component 1 of fine-tuning", "component 2"),
    "t": ("t", "query accuracy"),
}
LOOKS = {"fine-tuning": 2, "learned flow": 0}


@dataclass(frozen=True, eq=False)
class Film:
    """A path on a task and the fine-tuning run beside it.

    Args:
        readings: of the path, the first at theta0.
    """

    task: Task
    readings: Sequence[Reading]

    @property
    def shown(self) -> Int[Tensor, " shown"]:
        """The query images that change most often between right and wrong, in their own order."""
        labels = self.task.episode.query.labels
        right = torch.stack([reading.guesses == labels for reading in self.readings])
        flips = (right[1:] != right[:-1]).sum(0)
        return flips.argsort(descending=True, stable=True)[:N_IMAGES].sort().values

    def curve(self, name: str, panel: str) -> Float[Tensor, "2 knots"]:
        """What a panel draws of one of the two paths."""
        path = self.task.truth if name == "fine-tuning" else self.readings
        if panel == "plane":
            return self.task.plane.to_plane(torch.stack([r.theta for r in path])).T
        return torch.tensor([(r.t, r.accuracy) for r in path]).T

    def facts(self) -> dict[str, object]:
        """What the pictures show, in numbers: accuracies in [0, 1], lengths as shares."""
        task, episode = self.task, self.task.episode
        start, now, tuned = self.readings[0], self.readings[-1], task.truth[-1]
        moved, true = now.theta - start.theta, tuned.theta - start.theta
        return {
            "domain": task.domain,
            "task": task.number,
            "n_way": episode.support.n_way,
            "n_support": len(episode.support.labels),
            "n_query": len(episode.query.labels),
            "steps": len(self.readings) - 1,
            "before": round(start.accuracy, 4),
            "after": round(now.accuracy, 4),
            "fine_tuning": round(tuned.accuracy, 4),
            "accuracy_by_step": [round(reading.accuracy, 4) for reading in self.readings],
            "fine_tuning_by_knot": [round(reading.accuracy, 4) for reading in task.truth],
            "plane_shows_of_flow": round(task.plane.share(moved).item(), 3),
            "plane_shows_of_fine_tuning": round(task.plane.share(true).item(), 3),
        }

    def words(self, k: int) -> str:
        """What step k is, for the title."""
        right = 100 * self.readings[k].accuracy
        return (
            f"step {k} of {len(self.readings) - 1}: {right:.0f} % of the query images right"
        )

    def figure(self, k: int) -> go.Figure:
        """After k steps. Above the plane and the accuracy, below the query images that change."""
        figure = make_subplots(
            rows=2,
            cols=2,
            specs=[[{}, {}], [{"colspan": 2}, None]],
            row_heights=[0.78, 0.22],
            horizontal_spacing=0.14,
            vertical_spacing=0.22,
        )
        for column, panel in enumerate(PANELS, start=1):
            self._draw(figure, panel, column, k)
        figure.add_scatter(x=[0], y=[0], name="start", mode="markers", marker=figures.RING)
        self._show(figure, k)
        return figure.update_layout(
            template=figures.TEMPLATE,
            width=WIDTH,
            height=HEIGHT,
            margin={"l": 70, "r": 20, "t": 90, "b": 12},
            title={"text": f"<b>{self.words(k)}</b>", "x": 0.02, "y": 0.96},
            legend={"y": 1.0},
        )

    def _draw(self, figure: go.Figure, panel: str, column: int, k: int) -> None:
        place = {"row": 1, "col": column}
        look = {"mode": "lines+markers", "size": 6, "showlegend": column == 1}
        for name, number in LOOKS.items():
            points = figures.array(self.curve(name, panel))
            xs, ys = points[:, : k + 1] if name == "learned flow" else points
            figure.add_trace(figures.line(name, number, x=xs, y=ys, **look), **place)
        points = torch.cat([self.curve(name, panel) for name in LOOKS], dim=1)
        low, high = points.amin(1), points.amax(1)
        room = 0.06 * (high - low).clamp(min=0.01)
        ranges = torch.stack([low - room, high + room], dim=1).tolist()
        percent = {"tickformat": ".0%"} if panel == "t" else {}
        titles = PANELS[panel]
        figure.update_xaxes(title=titles[0], range=ranges[0], **place)
        figure.update_yaxes(title=titles[1], range=ranges[1], **percent, **place)

    def _show(self, figure: go.Figure, k: int) -> None:
        query, shown = self.task.episode.query, self.shown
        right = (self.readings[k].guesses == query.labels)[shown]
        strip = images.strip(query.images[shown], framed=~right)
        height, width = strip.shape[1:]
        cell = width / len(shown)
        figure.add_trace(images.trace(strip, lossless=True), row=2, col=1)
        figure.add_scatter(
            x=cell * (torch.arange(len(shown)) + 0.5).numpy(),
            y=[height + 7] * len(shown),
            text=["right" if yes else "wrong" for yes in right],
            textfont={"color": [RIGHT if yes else WRONG for yes in right]},
            mode="text",
            showlegend=False,
            row=2,
            col=1,
        )
        n, most = len(query.labels), "those that change most often"
        words = f"{len(shown)} of the {n} query images, {most}"
        bare = {"showticklabels": False, "showline": False, "ticks": "", "showgrid": False}
        figure.update_xaxes(**bare, range=[0, width], row=2, col=1)
        figure.update_yaxes(**bare, range=[height + 16, -2], row=2, col=1)
        place = {"xref": "x3", "yref": "y3", "xanchor": "left", "yanchor": "bottom"}
        figure.add_annotation(text=words, x=0, y=-2, showarrow=False, **place)


def draw(figures_: Sequence[go.Figure]) -> list[Image.Image]:
    """The figures as pixels, drawn by kaleido in a browser.

    Raises:
        ConfigError: kaleido or the browser is not here.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{k}.png" for k in range(len(figures_))]
        try:
            sizes = {"width": WIDTH, "height": HEIGHT}
            pio.write_images(list(figures_), files, **sizes)
        except RuntimeError as error:
            raise ConfigError(
                "pictures are drawn by kaleido in Chromium or Chrome, and one of them is not "
                "here; install the browser, and kaleido by pip install 'hyperlab[test]'"
            ) from error
        return [Image.open(file).convert("RGB") for file in files]


def keep(pictures: Sequence[Image.Image], path: Path) -> None:
    """The pictures as an endless GIF; the first and the last stay longer."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, height * len(pictures)))  # one palette for all
    for k, picture in enumerate(pictures):
        sheet.paste(picture, (0, height * k))
    sheet = sheet.quantize(N_COLOURS, dither=Image.Dither.NONE)
    boxes = [(0, height * k, width, height * (k + 1)) for k in range(len(pictures))]
    plain = [sheet.crop(box) for box in boxes]
    times = [START_MS, *[STEP_MS] * (len(pictures) - 2), END_MS]
    options = {"save_all": True, "append_images": plain[1:], "duration": times, "loop": 0}
    with whole_file(path) as draft:
        plain[0].save(draft, format="gif", optimize=True, **options)


def walk(state: Stepper, method: str, steps: int) -> tuple[Reading, ...]:
    """The readings from t = 0 to 1."""
    state.method, state.steps = method, steps
    state.reset()
    for _ in tqdm(range(steps), desc=f"{steps} {method} steps"):
        state.step()
    return state.readings


def main(
    scale: Annotated[
        str, typer.Option(help="smoke: 4 steps; laptop, paper: 64")
    ] = "laptop",
    seed: script.Seed = 0,
    out: Annotated[Path, typer.Option(help="folder of the pictures")] = Path("results"),
) -> None:
    """Task 0 of drawn circuits, which nothing was fitted to. CPU, one core: half a minute."""
    n_steps = choose({"smoke": 4, "laptop": 64, "paper": 64}, scale)
    target = targets.load("vit_micro", subset=params.qkv_biases)
    domains, nets = (
        {"circuits": unseen()["circuits"]},
        {"Jacobian flow": jacobian_flow.load()},
    )
    state = Stepper(Bench(target=target, nets=nets, domains=domains, seed=seed))
    shown = Film(state.task, walk(state, "euler", n_steps))
    pictures = draw([shown.figure(k) for k in range(n_steps + 1)])
    keep(pictures, out / "stepper.gif")
    with whole_file(out / "stepper.png") as draft:
        pictures[-1].save(draft, format="png", optimize=True)
    facts = {"command": timing.command(), "scale": scale, "seed": seed}
    facts |= {"backbone": "vit_micro", "network": state.net, "solver": state.method}
    facts |= shown.facts()
    facts["ten_euler_steps"] = round(walk(state, "euler", 10)[-1].accuracy, 4)
    facts["eight_chebyshev_steps"] = round(walk(state, "chebyshev", 8)[-1].accuracy, 4)
    facts |= {"versions": timing.versions(["torch", "timm", "plotly"])}
    study.write(out / "stepper.json", facts)
    print(f"wrote {out}/stepper.gif, stepper.png and stepper.json")


if __name__ == "__main__":
    script.run(main)
