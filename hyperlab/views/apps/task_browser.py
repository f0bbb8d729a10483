"""Leaf through few-shot tasks: domain, way, shots and style, with every image in sight."""

import html
from collections.abc import Mapping

import ipywidgets as w
import torch
import traitlets as tr
from jaxtyping import Int
from torch import Tensor

from hyperlab.base import ConfigError, choose, stream
from hyperlab.models.targets import prototypes
from hyperlab.study.tables import interval
from hyperlab.tasks import episodes
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import Episode, MetaDatasetRules
from hyperlab.tasks.styles import Style, random_style
from hyperlab.views import sheets
from hyperlab.views.apps.buttons import button
from hyperlab.views.apps.frame import App

FIXED, VARIABLE = "fixed", "Meta-Dataset"
ENOUGH = 5  # tasks for an interval that means something
SHOWN = {"support": 8, "query": 6}  # images of a class, at most


def pixel_guesses(episode: Episode) -> Int[Tensor, " n"]:
    """The class whose mean support image is nearest, for every query image."""
    seen, asked = episode.support, episode.query
    centres = prototypes(seen.images.flatten(1), seen.labels, seen.n_way)
    return torch.cdist(asked.images.flatten(1), centres).argmin(1)


def pixel_accuracy(episode: Episode) -> float:
    """Share of the query images nearest to their own class's mean image, in [0, 1]."""
    return (pixel_guesses(episode) == episode.query.labels).float().mean().item()


class TaskBrowser(tr.HasTraits):
    """What the reader can change, and the task that follows from it.

    Task `number` has the same classes and images whatever the style.
    """

    SHARED = ("domain", "rule", "n_way", "n_shot", "style", "number", "seen")

    domain = tr.Unicode()
    rule = tr.Enum((FIXED, VARIABLE), FIXED)
    n_way = tr.Int(5)
    n_shot = tr.Int(5)
    style = tr.Int(0, min=0)  # 0: the images as they are; else the number of a random style
    number = tr.Int(0, min=0)  # of the task
    episode = tr.Instance(Episode, allow_none=True)
    trouble = tr.Unicode()  # why there is no such task

    def __init__(
        self,
        domains: Mapping[str, Domain],
        *,
        rules: MetaDatasetRules | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.domains, self.seed = dict(domains), seed
        self.rules = rules or MetaDatasetRules.at("laptop")
        self.accuracies: dict[int, float] = {}  # task -> accuracy, of these settings
        self.domain = next(iter(self.domains))

    @tr.observe("domain", "rule", "n_way", "n_shot", "style")
    def _start_again(self, _: object) -> None:
        self.accuracies.clear()
        self._draw()

    @tr.observe("number")
    def _draw(self, _: object = None) -> None:
        """Task `number`, or None and the reason in `trouble`."""
        try:
            episode = self._task(self.number)
        except ConfigError as error:
            self.episode, self.trouble = None, str(error)
        else:
            self.accuracies[self.number] = pixel_accuracy(episode)
            self.episode, self.trouble = episode, ""

    def next_tasks(self, n: int = 1) -> None:
        """Go `n` tasks on; every task on the way counts for the mean."""
        if self.episode is not None:
            for number in range(self.number + 1, self.number + n):
                self.accuracies[number] = pixel_accuracy(self._task(number))
        self.number += n

    @property
    def seen(self) -> list[int]:
        """Tasks that count for the mean; setting it looks at them all."""
        return sorted(self.accuracies)

    @seen.setter
    def seen(self, numbers: list[int]) -> None:
        self.accuracies = {i: pixel_accuracy(self._task(i)) for i in numbers}
        self.notify_change(
            tr.Bunch(name="episode", type="change", owner=self, old=None, new=self.episode)
        )

    def reset(self) -> None:
        """Task 0, plain, 5-way 5-shot."""
        with self.hold_trait_notifications():
            self.rule, self.n_way, self.n_shot = FIXED, 5, 5
            self.style, self.number = 0, 0
        self._start_again(None)

    def _task(self, number: int) -> Episode:
        domain = choose(self.domains, self.domain)
        generator = stream(self.seed, "browser", self.domain, number)
        style = self.look().apply
        if self.rule == VARIABLE:
            draw = episodes.sample_variable
            return draw(domain, self.rules, style=style, generator=generator)
        return episodes.sample(
            domain, n_way=self.n_way, n_shot=self.n_shot, style=style, generator=generator
        )

    def look(self) -> Style:
        """The present style."""
        if not self.style:
            return Style()
        return random_style(stream(self.seed, "browser", "style", self.style))

    def read_out(self) -> str:
        """The task and the result of pixel prototypes, in words."""
        if self.episode is None:
            return f"No such task. {self.trouble}"
        seen, asked = self.episode.support, self.episode.query
        few, many = seen.labels.bincount().aminmax()
        shots = f"{few}" if few == many else f"{few} to {many}"
        changes = ", ".join(operation.name for operation in self.look().operations)
        look = f"style {self.style} ({changes or 'no change'})" if self.style else "plain"
        return (
            f"Task {self.number} of {self.domain}, {look}. {seen.n_way} classes, "
            f"{shots} support images of each, {len(seen.labels)} in all; "
            f"{len(asked.labels)} queries. "
            f"Nearest mean image: {self.accuracies[self.number]:.1%} right, "
            f"chance {1 / seen.n_way:.1%}. {self.mean()}"
        )

    def mean(self) -> str:
        """Mean accuracy of the tasks seen with these settings, with its 95 % interval."""
        found = torch.tensor(list(self.accuracies.values()))
        if len(found) < ENOUGH:
            return f"Mean of {len(found)}: {found.mean():.1%}."
        half = 100 * interval(found)
        return f"Mean of {len(found)} tasks: {found.mean():.1%} \u00b1 {half:.1f} points."

    def table(self) -> str:
        """Each class in a row: its name, support images, and queries with the wrong framed."""
        if self.episode is None:
            return ""
        wrong = pixel_guesses(self.episode) != self.episode.query.labels
        n_way = len(self.episode.classes)
        rows = [HEAD, *(_row(self.episode, number, wrong) for number in range(n_way))]
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table>{table}</table>"


CELL = "style='padding: 0 14px 0 0; text-align: left'"
HEAD = "".join(
    f"<th {CELL}>{words}</th>"
    for words in ("class", "shots", "support", "query (framed: taken for another class)")
)


def _row(episode: Episode, number: int, wrong: Tensor) -> str:
    mine, asked = episode.support.labels == number, episode.query.labels == number
    n_seen, n_asked = SHOWN["support"], SHOWN["query"]
    support = sheets.strip(episode.support.images[mine][:n_seen], n=n_seen)
    query = sheets.strip(
        episode.query.images[asked][:n_asked], n=n_asked, framed=wrong[asked][:n_asked]
    )
    name, n_shot = html.escape(episode.classes[number]), int(mine.sum())
    cells = (
        name,
        f"{n_shot}" if n_shot <= n_seen else f"{n_shot}, {n_seen} shown",
        _picture(support, f"support images of {name}"),
        _picture(query, f"queries of {name}, {int(wrong[asked].sum())} wrong"),
    )
    return "".join(f"<td {CELL}>{cell}</td>" for cell in cells)


def _picture(picture: Tensor, words: str) -> str:
    source = sheets.data_uri(picture)
    return f'<img style="max-width:none; height:48px" alt="{words}" src="{source}">'


def task_browser(state: TaskBrowser, *, seed: int = 0) -> App:
    """Choose a domain and a rule, draw task after task, put a style over them."""
    domain = w.Dropdown(options=list(state.domains), description="domain")
    rule = w.ToggleButtons(options=[FIXED, VARIABLE], description="rule")
    n_way = w.BoundedIntText(min=2, max=20, description="ways")
    n_shot = w.BoundedIntText(min=1, max=50, description="shots")
    controls = {"domain": domain, "rule": rule, "n_way": n_way, "n_shot": n_shot}
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))
    actions = {
        "Next task": state.next_tasks,
        "20 tasks on": lambda: state.next_tasks(20),
        "Next style": lambda: state.set_trait("style", state.style + 1),
        "Plain": lambda: state.set_trait("style", 0),
        "Reset": state.reset,
    }
    buttons = [button(name, act) for name, act in actions.items()]
    words, table = w.HTML(), w.HTML(layout={"overflow": "auto"})

    def show(_: object = None) -> None:
        n_way.disabled = n_shot.disabled = state.rule == VARIABLE
        words.value, table.value = html.escape(state.read_out()), state.table()

    state.observe(show, ["episode", "trouble"])
    show()
    rows = [[domain, rule], [n_way, n_shot], buttons]
    return App("task_browser", state, rows=rows, views=[words, table], seed=seed)
