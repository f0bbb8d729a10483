"""Heads drawn for one task: how well they do, and what the support set says of them."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, State, Whole
from hyperlab.base import ConfigError, stream
from hyperlab.evaluation import heads
from hyperlab.views import figures
from hyperlab.weights.head_generators import HeadGenerator

OWN, OTHER = "its own", "another task's"
SAMPLES, CHOSEN = "drawn heads", "chosen by the support"
PROTOTYPES, FITTED, MEAN = "prototypes", "fitted to the support", "mean of the drawn heads"
STEPS = 10  # of the solver


class Drawn(NamedTuple):
    """What heads do on a task: the smaller the support loss, the better they fit what we have."""

    loss: Float[Tensor, " heads"]
    accuracy: Float[Tensor, " heads"]


class HeadState(State):
    """A task, how many heads are drawn for it, and how many of them the support chooses.

    Args:
        generator: draws heads.
        support, query: features of some tasks, classes apart.
        names: of the tasks, e.g. their domains.
    """

    name = "head_comparison"
    task = Choice("task", lambda s: [(f"{i} {name}", i) for i, name in enumerate(s.names)])
    given = Choice("support given", (OWN, OTHER), look="buttons")  # to the generator
    n = Whole("heads drawn", 20, low=1, high=100)
    top = Whole("heads chosen", 3, low=1, high=20)
    seed = Whole("seed", high=9_999, look="box")
    rows = (("task", "given"), ("n", "top", "seed"))

    def __init__(
        self,
        generator: HeadGenerator,
        support: Float[Tensor, " tasks way shots dim"],
        query: Float[Tensor, " tasks way n dim"],
        names: list[str],
    ) -> None:
        if not 2 <= len(support) == len(query) == len(names):
            raise ConfigError(
                f"want two or more tasks, each with support, query and name, got "
                f"{len(support)}, {len(query)}, {len(names)}"
            )
        self.generator, self.names = generator, names
        self.support, self.query = support, query
        super().__init__()

    def heads(self) -> Float[Tensor, " heads way row"]:
        """Those drawn for the task."""
        one, other = self.task, (self.task + 1) % len(self.support)
        about = self.support[[other if self.given == OTHER else one]]
        g = stream(self.seed, "head comparison", self.task)
        support, options = self.support[[one]], {"steps": STEPS, "about": about}
        return self.generator.sample(support, self.n, generator=g, **options)[0]

    def judge(self, rows: Float[Tensor, " heads way row"]) -> Drawn:
        """Support loss and query accuracy of some heads on whitened features."""
        parts = (part[[self.task]] for part in (self.support, self.query))
        support, query = map(self.generator.whiten, parts)
        right = heads.correct(heads.answers(rows, query))
        return Drawn(heads.support_loss(rows, support), right)

    def judged(self) -> tuple[Drawn, dict[str, Drawn]]:
        """The drawn heads, and those they are held against."""
        drawn, one = self.heads(), self.generator.whiten(self.support[[self.task]])
        others = {
            FITTED: heads.tell(one, self.generator.base)[1],
            MEAN: drawn.mean(0, keepdim=True),
        }
        return self.judge(drawn), {name: self.judge(x) for name, x in others.items()}

    def prototypes(self) -> float:
        """Accuracy of the class means, as the target has them."""
        return float(heads.cosines(self.support[[self.task]], self.query[[self.task]])[0])

    def best(self, drawn: Drawn) -> Tensor:
        """The heads that the support chooses."""
        return drawn.loss.argsort()[: self.top]

    def read_out(self) -> str:
        drawn, others = self.judged()
        best = drawn.accuracy[self.best(drawn)].mean()
        few = min(self.top, self.n)
        return (
            f"Task {self.task} ({self.names[self.task]}), told {self.given} support: "
            f"{self.n} heads, mean {drawn.accuracy.mean():.1%}, {few} chosen by the support "
            f"{best:.1%}, best {few} by the queries "
            f"{drawn.accuracy.topk(few).values.mean():.1%}; their mean head "
            f"{others[MEAN].accuracy.item():.1%}. Fitted to the support "
            f"{others[FITTED].accuracy.item():.1%}, prototypes {self.prototypes():.1%}."
        )

    def figure(self) -> Figure:
        """Every head by its support loss and its accuracy on the queries."""
        (drawn, others), prototypes = self.judged(), self.prototypes()
        chosen = Drawn(*(part[self.best(drawn)] for part in drawn))
        far = max(float(x.loss.max()) for x in (drawn, *others.values()))
        traces = [
            figures.spots(SAMPLES, None, *drawn, size=8),
            figures.spots(CHOSEN, 1, *chosen, size=14, marker_symbol="circle-open"),
            figures.spots(FITTED, 0, *others[FITTED], size=14, marker_symbol="square"),
            figures.spots(MEAN, 3, *others[MEAN], size=14, marker_symbol="diamond"),
            figures.line(PROTOTYPES, 2, [0, far], [prototypes] * 2, line_dash="dash"),
        ]
        loss = {"title": "loss on the support images, nats", "rangemode": "tozero"}
        right = {"title": "accuracy on the queries"} | figures.SHARE
        return figures.panels(traces, x=[loss], y=[right], height=430)
