"""Leaf through few-shot tasks: domain, way, shots and style, with every image in sight."""

import html
from collections.abc import Mapping

import torch
import traitlets as tr
from jaxtyping import Int
from torch import Tensor

from hyperlab.apps.state import Choice, State, Whole, button, setting
from hyperlab.base import ConfigError, stream
from hyperlab.evaluation.tables import interval
from hyperlab.models.targets import prototypes
from hyperlab.tasks import episodes
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import Episode, MetaDatasetRules
from hyperlab.tasks.styles import Style, random_style
from hyperlab.views import images

FIXED, VARIABLE = "fixed", "Meta-Dataset"
ENOUGH = 5  # tasks for an interval that means something
SHOWN = (8, 6)  # support and query images of a class, at most


def pixel_guesses(episode: Episode) -> Int[Tensor, " n"]:
    """The class whose mean support image is nearest, for every query image."""
    seen, asked = episode.support, episode.query
    centres = prototypes(seen.images.flatten(1), seen.labels, seen.n_way)
    return torch.cdist(asked.images.flatten(1), centres).argmin(1)


def pixel_accuracy(episode: Episode) -> float:
    """Share of the query images nearest to their own class's mean image, in [0, 1]."""
    return (pixel_guesses(episode) == episode.query.labels).float().mean().item()


class TaskBrowser(State):
    """What the reader can change, and the task that follows from it.

    Task `number` has the same classes and images whatever the style.
    """

    name = "task_browser"
    domain = Choice("domain", lambda s: list(s.domains))
    rule = Choice("rule", (FIXED, VARIABLE), look="buttons")
    n_way = Whole("ways", 5, low=2, high=20, look="box")
    n_shot = Whole("shots", 5, low=1, high=50, look="box")
    style = tr.Int(0, min=0)  # 0: the images as they are; else the number of a random style
    number = tr.Int(0, min=0)  # of the task
    episode = tr.Instance(Episode, allow_none=True)
    trouble = tr.Unicode()  # why there is no such task
    next_style = setting("Next style", style=lambda s: s.style + 1)
    plain = setting("Plain", style=0)
    rows = (
        ("domain", "rule"),
        ("n_way", "n_shot"),
        ("next_task", "twenty_on", "next_style", "plain", "reset"),
    )
    views = ("words", "table")
    SHARED = ("domain", "rule", "n_way", "n_shot", "style", "number", "seen")

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
        self._draw()

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

    next_task = button("Next task")(lambda s: s.next_tasks())
    twenty_on = button("20 tasks on")(lambda s: s.next_tasks(20))

    def disabled(self) -> set[str]:
        return {"n_way", "n_shot"} if self.rule == VARIABLE else set()

    @property
    def seen(self) -> list[int]:
        """Tasks that count for the mean; setting it looks at them all."""
        return sorted(self.accuracies)

    @seen.setter
    def seen(self, numbers: list[int]) -> None:
        self.accuracies = {i: pixel_accuracy(self._task(i)) for i in numbers}
        self._draw()

    @button("Reset")
    def reset(self) -> None:
        """Task 0, plain, 5-way 5-shot."""
        with self.hold_trait_notifications():
            self.rule, self.n_way, self.n_shot = FIXED, 5, 5
            self.style, self.number = 0, 0
        self._start_again(None)

    def _task(self, number: int) -> Episode:
        domain = self.domains[self.domain]
        g = stream(self.seed, "browser", self.domain, number)
        common = {"style": self.look().apply, "generator": g}
        if self.rule == VARIABLE:
            return episodes.sample_variable(domain, self.rules, **common)
        return episodes.sample(domain, n_way=self.n_way, n_shot=self.n_shot, **common)

    def look(self) -> Style:
        """The present style."""
        if not self.style:
            return Style()
        return random_style(stream(self.seed, "browser", "style", self.style))

    def read_out(self) -> str:
        """The task and the result of pixel prototypes, in words."""
        if self.episode is None:
            return f"No such task. {self.trouble}"
        support, n_query = self.episode.support, len(self.episode.query.labels)
        few, many = support.labels.bincount().aminmax()
        shots = f"{few}" if few == many else f"{few} to {many}"
        changes = ", ".join(operation.name for operation in self.look().operations)
        look = f"style {self.style} ({changes or 'no change'})" if self.style else "plain"
        return (
            f"Task {self.number} of {self.domain}, {look}. {support.n_way} classes, "
            f"{shots} support images of each, {len(support.labels)} in all; "
            f"{n_query} queries. "
            f"Nearest mean image: {self.accuracies[self.number]:.1%} right, "
            f"chance {1 / support.n_way:.1%}. {self.mean()}"
        )

    def mean(self) -> str:
        """Mean accuracy of the tasks seen with these settings, with its 95 % interval."""
        values = torch.tensor(list(self.accuracies.values()))
        if len(values) < ENOUGH:
            return f"Mean of {len(values)}: {values.mean():.1%}."
        half = 100 * interval(values)
        return f"Mean of {len(values)} tasks: {values.mean():.1%} \u00b1 {half:.1f} points."

    def table(self) -> str:
        """Each class in a row: its name, support images, and queries with the wrong framed."""
        if self.episode is None:
            return ""
        wrong = pixel_guesses(self.episode) != self.episode.query.labels
        classes = range(len(self.episode.classes))
        rows = [HEAD, *(_row(self.episode, number, wrong) for number in classes)]
        table = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table>{table}</table>"


CELL = "style='padding: 0 14px 0 0; text-align: left'"
HEAD = "".join(
    f"<th {CELL}>{words}</th>"
    for words in ("class", "shots", "support", "query (framed: taken for another class)")
)


def _row(episode: Episode, number: int, wrong: Tensor) -> str:
    name, support, query = episode.classes[number], episode.support, episode.query
    shots, asked = support.labels == number, query.labels == number
    n_shot, n_wrong, (most, n) = int(shots.sum()), int(wrong[asked].sum()), SHOWN
    seen = images.strip(support.images[shots][:most], n=most)
    asked = images.strip(query.images[asked][:n], n=n, framed=wrong[asked][:n])
    cells = (
        html.escape(name),
        f"{n_shot}" if n_shot <= most else f"{n_shot}, {most} shown",
        images.html_image(seen, f"support images of {name}", style="height:48px"),
        images.html_image(
            asked, f"queries of {name}, {n_wrong} wrong", style="height:48px"
        ),
    )
    return "".join(f"<td {CELL}>{cell}</td>" for cell in cells)
