"""A task with all that stepping needs, measured at any theta; no widget is needed for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hyperlab.base import ConfigError, choose, stream
from hyperlab.hyperflow.context import Context, encode
from hyperlab.hyperflow.drift import Drift
from hyperlab.hyperflow.teacher import Supports, TeacherConfig, fine_tune
from hyperlab.models.targets import Target, cosine, leave_one_out_loss, prototypes
from hyperlab.tasks import augment, episodes, roles
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import Episode
from hyperlab.views.projection import Plane

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
    nets: Mapping[str, Drift]
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
    plane: Plane
    truth: tuple[Reading, ...] = ()

    @classmethod
    def open(cls, bench: Bench, domain: str, number: int) -> "Task":
        """Draw task `number` of a domain and fine-tune on it, as `adapt.bias_tuning` does."""
        if number < 0:
            raise ConfigError(f"tasks are numbered from 0, got {number}")
        images, g = (
            choose(bench.domains, domain)(),
            stream(bench.seed, "stepper", domain, number),
        )
        episode = bench.draw(images, generator=g)
        episode.require()
        target, support = bench.target, episode.support
        views = [stream(bench.seed, "views")]
        tuned = fine_tune(target, Supports.join([support]), bench.teacher, views)
        thetas = torch.cat([theta for theta, _ in tuned])
        task = cls(
            domain=domain,
            number=number,
            episode=episode,
            target=target,
            context=encode(target, support),
            views=augment.view(support.images, stream(bench.seed, "stepper", "view")),
            plane=Plane.fit(thetas, origin=thetas[0]),
        )
        times = torch.linspace(0, 1, len(thetas)).tolist()
        stride = max(1, bench.teacher.steps // N_TRUE)
        knots = zip(times[::stride], thetas[::stride], strict=True)
        return replace(task, truth=tuple(task.measure(*knot) for knot in knots))

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
