"""Stepping a drift network on a task by hand: the state and its rules, without any widget."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import traitlets as tr
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from hyperlab import solvers
from hyperlab.base import ConfigError, choose, stream
from hyperlab.hyperflow.context import Context, encode
from hyperlab.hyperflow.drift import DriftNetwork
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune
from hyperlab.models.targets import Target, cosine, leave_one_out_loss, prototypes
from hyperlab.tasks import augment, episodes, roles
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import Episode
from hyperlab.views.apps.jobs import Turn, at_once
from hyperlab.views.projection import Plane

T_MOST = 2  # stepping goes on past t = 1, to here
LENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # factors on the drift
PACES = (1, 2, 5, 15)  # steps a second of a run; the drawing follows no faster
MOST_BEFORE = 3  # paths that stay beside the present one
N_TRUE = 10  # knots of the fine-tuning run that are measured, besides the first
FIRST = ("circuits", "glyphs", "digits", "plants")  # of the domains that are offered
DRAW = partial(episodes.sample, n_way=5, n_shot=10, n_query=10)


def unseen(
    root: Path | str | None = None, *, n_classes: int = 20, n_per_class: int = 30
) -> dict[str, Callable[[], Domain]]:
    """Name -> what opens it, for every domain here that no drift network was fitted to.

    First `FIRST`, which need no data. The families of validation are offered too: no network was
    fitted to them, but numbers of steps were chosen there.

    Args:
        n_classes: of a procedural family, as is `n_per_class`.
    """
    drawing = roles.Drawing(n_classes=n_classes, n_per_class=n_per_class)
    opens = {
        s.name: partial(roles.opened, s, role, root=root, drawing=drawing)
        for role in ("validation", "held_out")
        for s in roles.present(role, root=root)
    }
    return {name: opens[name] for name in dict.fromkeys((*FIRST, *opens))}


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What stays while tasks come and go.

    Args:
        nets: name -> drift network.
        domains: name -> what opens it.
        draw: `draw(domain, generator=g)` draws an episode.
        teacher: the fine-tuning that is drawn beside the path.
    """

    target: Target
    nets: Mapping[str, DriftNetwork]
    domains: Mapping[str, Callable[[], Domain]]
    draw: Callable[..., Episode] = DRAW
    teacher: TeacherConfig = TeacherConfig()
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.nets or not self.domains:
            raise ConfigError("a bench needs at least one drift network and one domain")
        n_params = self.target.subset.n_params
        if strangers := [
            n for n, net in self.nets.items() if net.shape.n_params != n_params
        ]:
            raise ConfigError(
                f"networks {strangers} do not move the target's {n_params} numbers: load the "
                "target with the subset they were trained for"
            )
        for net in self.nets.values():
            net.require(self.target)


@dataclass(frozen=True, eq=False)
class Reading:
    """One point of a path, measured.

    Args:
        accuracy: on the query images, in [0, 1].
        loss: the teacher's loss on the support set.
        guesses: the class given to every query image.
    """

    t: float
    theta: Float[Tensor, " params"]
    accuracy: float
    loss: float
    guesses: Int[Tensor, " n"]


@dataclass(frozen=True, eq=False)
class Task:
    """An episode with all that stepping needs: context, true fine-tuning run, plane.

    Args:
        views: one augmented copy of the support images, the same for every measurement.
        truth: the fine-tuning run, measured at about ten knots.
        plane: through theta0 and the fine-tuning run.
    """

    domain: str
    number: int
    episode: Episode
    target: Target
    context: Context
    views: Float[Tensor, " n 3 h w"]
    truth: tuple[Reading, ...]
    plane: Plane

    @classmethod
    def open(cls, bench: Bench, domain: str, number: int) -> "Task":
        """Draw task `number` of a domain and fine-tune on it, as `adapt.bias_tuning` does."""
        if number < 0:
            raise ConfigError(f"tasks are numbered from 0, got {number}")
        images = choose(bench.domains, domain)()
        episode = bench.draw(
            images, generator=stream(bench.seed, "stepper", domain, number)
        )
        episode.require()
        supports = Supports.join([episode.support])
        tuned = fine_tune(
            bench.target, supports, bench.teacher, [stream(bench.seed, "views")]
        )
        thetas = torch.cat([theta for theta, _ in tuned])
        plane = Plane.fit(thetas, origin=thetas[0])
        views = augment.view(episode.support.images, stream(bench.seed, "stepper", "view"))
        context = encode(bench.target, episode.support)
        bare = cls(domain, number, episode, bench.target, context, views, (), plane)
        stride = max(1, bench.teacher.steps // N_TRUE)
        times = torch.linspace(0, 1, len(thetas)).tolist()
        kept = zip(times[::stride], thetas[::stride], strict=True)
        truth = tuple(bare.measure(t, theta) for t, theta in kept)
        return cls(domain, number, episode, bench.target, context, views, truth, plane)

    @torch.no_grad()
    def measure(self, t: float, theta: Float[Tensor, " params"]) -> Reading:
        """Query accuracy, guesses and support loss at theta."""
        support, query = self.episode.support, self.episode.query
        parts = support.images, query.images, self.views  # one pass is quicker than two
        features = self.target.features(theta, torch.cat(parts))
        seen, asked, viewed = features.split([len(part) for part in parts])
        centres = prototypes(seen, support.labels, support.n_way)
        guesses = cosine(asked, centres).argmax(1).cpu()
        accuracy = (guesses == query.labels).float().mean().item()
        labels, scale = support.labels.to(viewed.device), self.target.logit_scale
        loss = leave_one_out_loss(viewed, labels, support.n_way, scale).item()
        return Reading(t, theta, accuracy, loss, guesses)

    def true_at(self, t: float) -> Reading:
        """The fine-tuning run at the knot nearest to t."""
        return min(self.truth, key=lambda reading: abs(reading.t - t))

    @property
    def tags(self) -> tuple[str, ...]:
        """A short name of every class: its own if all are short, else A, B, C, ..."""
        names = self.episode.classes
        if max(map(len, names)) <= 2:
            return names
        return tuple(chr(ord("A") + number) for number in range(len(names)))


class Path(NamedTuple):
    """A path that was ended, and the settings that it was made with, in words."""

    label: str
    readings: tuple[Reading, ...]


class Stepper(tr.HasTraits):
    """What the reader can change, and the path that grows from it.

    Args:
        bench: its first domain's task 0 is opened.
    """

    SHARED = ("place", "net", "method", "steps", "length", "pace", "done", "shown")

    net = tr.Unicode()
    method = tr.Enum(tuple(solvers.STEPS), "euler")
    steps = tr.Int(40, min=1, max=64)  # from t = 0 to t = 1
    length = tr.Enum(LENGTHS, 1.0)  # factor on the drift
    pace = tr.Enum(PACES, 5)  # steps a second of a run
    task = tr.Instance(Task)
    readings = tr.Tuple()  # of the path so far, the first at theta0
    before = tr.Tuple()  # the last paths that a reset ended, the newest first
    shown = tr.Int(0, min=0)  # place in `readings` of what pictures and words tell

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench, self.net = bench, next(iter(bench.nets))
        self.open(next(iter(bench.domains)), 0)

    def open(self, domain: str, number: int) -> None:
        """Go to another task: takes as long as fine-tuning on it."""
        self.adopt(Task.open(self.bench, domain, number))

    def adopt(self, task: Task) -> None:
        """Go to a task that is open already."""
        with self.hold_trait_notifications():
            self.task, self.before, self.shown = task, (), 0
            self.readings, self._label = task.truth[:1], self.label()

    @property
    def place(self) -> list[str | int]:
        """Domain and number of the task; setting it opens that task."""
        return [self.task.domain, self.task.number]

    @place.setter
    def place(self, place: list[str | int]) -> None:
        self.open(*place)

    @tr.validate("net")
    def _known(self, proposal: dict) -> str:
        choose(self.bench.nets, proposal["value"])
        return proposal["value"]

    @tr.validate("shown")
    def _on_the_path(self, proposal: dict) -> int:
        return min(proposal["value"], self.done)

    @tr.observe("net", "method", "steps", "length")
    def reset(self, _: object = None) -> None:
        """Back to theta0; the path that was there is kept in `before`."""
        if not self.readings:
            return
        with self.hold_trait_notifications():
            if self.done:
                ended = Path(self._label, self.readings)
                self.before = (ended, *self.before)[:MOST_BEFORE]
            self.readings = (self.readings[0],)  # another tuple: a run in progress ends
            self.shown, self._label = 0, self.label()

    def forget(self) -> None:
        """Clear the paths before."""
        self.before = ()

    def label(self) -> str:
        """The settings of a path in words."""
        factor = "" if self.length == 1 else f", drift x {self.length:g}"
        return f"{self.net}, {self.method}, {self.steps} steps{factor}"

    @property
    def done(self) -> int:
        """Steps taken; setting it walks from the start again."""
        return len(self.readings) - 1

    @done.setter
    def done(self, n: int) -> None:
        if not 0 <= n <= T_MOST * self.steps:
            raise ConfigError(f"0 to {T_MOST * self.steps} steps, got {n}")
        with self.hold_trait_notifications():
            self.reset()
            for _ in range(n):
                self.step()

    @property
    def now(self) -> Reading:
        """What pictures and words tell."""
        return self.readings[self.shown]

    @property
    def previous(self) -> Reading:
        """One step before it."""
        return self.readings[max(0, self.shown - 1)]

    @property
    def left(self) -> int:
        """Steps to the next whole t: to the end of the flow, or past it to t = 2."""
        if self.done >= T_MOST * self.steps:
            return 0
        return self.steps - self.done % self.steps

    @torch.no_grad()
    def look_ahead(self) -> Reading:
        """The point one solver step further; nothing changes."""
        drift = self.bench.nets[self.net].given(self.task.context)
        length, now = self.length, self.readings[-1]
        times = torch.tensor([self.done, self.done + 1]) / self.steps
        theta = solvers.STEPS[self.method](
            lambda t, x: length * drift(t, x), times[0], now.theta, times[1] - times[0]
        )
        return self.task.measure(times[1].item(), theta)

    def step(self) -> None:
        """One step further, up to t = 2."""
        if self.left:
            reading = self.look_ahead()
            with self.hold_trait_notifications():
                self.readings = (*self.readings, reading)
                self.shown = self.done

    async def run(self, turn: Turn = at_once) -> None:
        """The steps to the next whole t, each shown when its turn comes.

        Ends early where the path is reset or the task changed meanwhile.
        """
        path = self.readings
        for _ in range(self.left):
            await turn()
            if self.readings is not path:
                return
            self.step()  # not in a thread, where it would fight with the messages
            path = self.readings

    def plane_words(self) -> str:
        """Where the path is, and how much of it the plane shows."""
        now, end, task = self.now, self.task.truth[-1].theta, self.task
        moved, tuned = now.theta - task.plane.origin, end - task.plane.origin
        calls = self.shown * solvers.NFE[self.method]
        words = (
            f"t = {now.t:.3g} of the flow: {self.shown} of {self.steps} {self.method} steps, "
            f"{calls} calls of network {self.net}. "
        )
        shown = f"{task.plane.share(tuned):.0%} of the length of fine-tuning's displacement"
        if not self.shown:
            return words + f"The plane shows {shown}."
        cos = F.cosine_similarity(moved, tuned, dim=0)
        return words + (
            f"Displacement: {moved.norm() / tuned.norm():.2f} times as long as "
            f"fine-tuning's, cosine {cos:.2f}. The plane shows {shown} and "
            f"{task.plane.share(moved):.0%} of this one's."
        )

    def accuracy_words(self) -> str:
        """Accuracy now, before, and of fine-tuning."""
        now, first, true = self.now, self.readings[0], self.task.truth
        change = 100 * (now.accuracy - self.previous.accuracy)
        last = f" ({change:+.0f} points by the last step)" if self.shown else ""
        return (
            f"Query accuracy {now.accuracy:.0%}{last}; {first.accuracy:.0%} at t = 0. "
            f"Fine-tuning: {self.task.true_at(now.t).accuracy:.0%} at this t, "
            f"{true[-1].accuracy:.0%} at its end."
        )

    def before_words(self) -> str:
        """Where the paths before ended."""
        ends = [
            f"{label}: {path[-1].accuracy:.0%} at t = {path[-1].t:.3g}"
            for label, path in self.before
        ]
        return f"Before, on this task: {'; '.join(ends)}." if ends else ""

    def loss_words(self) -> str:
        """Support loss now, before, and of fine-tuning."""
        now, first, true = self.now, self.readings[0], self.task.truth
        return (
            f"Support loss {now.loss:.3f}; {first.loss:.3f} at t = 0. "
            f"Fine-tuning: {self.task.true_at(now.t).loss:.3f} at this t, "
            f"{true[-1].loss:.3f} at its end."
        )

    def query_words(self) -> str:
        """How many query images are right, what changed, and what is taken for what."""
        task, labels, now = self.task, self.task.episode.query.labels, self.now
        right = now.guesses == labels
        was_right = self.previous.guesses == labels
        words = f"{int(right.sum())} of {len(labels)} query images right; by the last step "
        words += f"{int((right & ~was_right).sum())} became right and "
        words += f"{int((was_right & ~right).sum())} became wrong. "
        pairs = zip(labels[~right].tolist(), now.guesses[~right].tolist(), strict=True)
        often = Counter(pairs).most_common(3)
        mixed = [f"{task.tags[a]} for {task.tags[b]} ({n})" for (a, b), n in often]
        words += f"Most often taken: {', '.join(mixed)}." if mixed else "None is wrong."
        named = zip(task.tags, task.episode.classes, strict=True)
        legend = ", ".join(f"{tag} is {name}" for tag, name in named if tag != name)
        return f"{words} {legend}." if legend else words
