"""Pick support images; a generator that is told them makes networks; see where they work."""

from collections.abc import Mapping, Sequence

import torch
import traitlets as tr
from jaxtyping import Float
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, State, Whole, kept, setting
from hyperlab.base import ConfigError, stream
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.views import figures, images
from hyperlab.weights import context
from hyperlab.weights.retriever import DataSet, Retriever
from hyperlab.weights.zoo import accuracies

N_NETWORKS = 8
IN_ORDER, TURNED = ORDERS = ("as the networks know them", "moved on by one")
NETWORKS, MEAN, ORIGINALS = "generated networks", "their mean", "originals' mean"


class PickerState(State):
    """Some support images, and eight networks that are generated for them.

    Args:
        model: given support images by a reader that looks at them.
        sets: data sets whose networks the model knows.
        strangers: name -> images of data sets that it has no networks of.
        n_eval: test images that every network is tried on.
    """

    name = "support_picker"
    shown = Choice("images of", lambda s: list(s.pools))
    n_shot = Whole("of every class", 3, low=1, high=5, look="box")
    order = Choice("labels", ORDERS)
    draw = tr.Int(0, min=0)  # of the support images
    start = tr.Int(0, min=0)  # of the flow
    other_images = setting("Other images", draw=lambda s: s.draw + 1)
    other_starts = setting("Other starts", start=lambda s: s.start + 1)
    reset = setting("Reset", order=IN_ORDER, n_shot=3, draw=0, start=0)
    rows = (("shown", "n_shot", "order"), ("other_images", "other_starts", "reset"))
    views = ("picture", "figure", "words")
    SHARED = ("shown", "n_shot", "order", "draw", "start")

    def __init__(
        self,
        model: Retriever,
        sets: Sequence[DataSet],
        strangers: Mapping[str, LabelledImages] | None = None,
        *,
        n_eval: int = 200,
    ) -> None:
        self.model, self.sets, self.n_eval = model, list(sets), n_eval
        self.pools = {data.name: data.new for data in sets} | dict(strangers or {})
        if not model.readers or len(self.pools) < len(sets) + len(strangers or {}):
            raise ConfigError(
                "want a model that is told a context, and names that differ; got "
                f"{list(model.readers)} and {[d.name for d in sets]} and {list(strangers or {})}"
            )
        self.reader = next(iter(model.readers.values()))
        self.means = {
            data.name: float(self._accuracies(data, data.originals.train[:20]).mean())
            for data in sets
        }
        super().__init__()

    def _accuracies(self, data: DataSet, rows: Tensor) -> Float[Tensor, " n"]:
        images, labels = data.originals.test
        first = images[: self.n_eval], labels[: self.n_eval]
        return accuracies(data.architecture, rows, *first)

    def support(self) -> LabelledImages:
        """The images, with the labels that the model is given."""
        g = stream(self.draw, "picker", self.shown)
        drawn = context.draw_support(self.pools[self.shown], self.n_shot, g)
        moved = (drawn.labels + (self.order == TURNED)) % drawn.n_way
        return LabelledImages(drawn.images, moved, drawn.n_way)

    @torch.no_grad()
    def networks(self) -> Float[Tensor, " n params"]:
        """What the model generates for the support images."""
        condition = self.reader(self.support())
        g = stream(self.start, "picker", "start")
        return self.model.networks(condition, N_NETWORKS, g)

    @kept("shown", "n_shot", "order", "draw", "start")
    def accuracies(self) -> dict[str, Float[Tensor, " n"]]:
        """Of every network on every data set's test images."""
        networks, cut = self.networks(), self.model.cut
        return {x.name: self._accuracies(x, cut(networks, x)) for x in self.sets}

    def sheet(self) -> Float[Tensor, " 3 height width"]:
        """The support images, a column for each label."""
        support = self.support()
        order = support.labels.argsort(stable=True)
        columns = support.images[order].unflatten(0, (support.n_way, -1))
        return images.sheet([[row] for row in columns.transpose(0, 1)])

    def picture(self) -> str:
        return images.html_image(self.sheet(), f"support images of {self.shown}")

    def read_out(self) -> str:
        values = self.accuracies()
        parts = [
            f"{name} {x.mean():.1%} (originals {self.means[name]:.1%})"
            for name, x in values.items()
        ]
        best = max(values, key=lambda name: float(values[name].mean()))
        return (
            f"{len(self.support().labels)} images of {self.shown}, labels {self.order}. Mean "
            f"accuracy of {N_NETWORKS} generated networks: {', '.join(parts)}. They are "
            f"networks for {best}."
        )

    def figure(self) -> Figure:
        """The accuracy of every generated network on every data set."""
        values, originals = self.accuracies(), self.means
        names = [name for name, x in values.items() for _ in x]
        each, means = (
            torch.cat([*values.values()]),
            [float(x.mean()) for x in values.values()],
        )
        flat = {"size": 26, "marker_symbol": "line-ew-open"}
        traces = [
            figures.spots(NETWORKS, 0, names, each, size=8, marker_symbol="circle-open"),
            figures.spots(MEAN, 1, [*values], means, size=12, marker_symbol="diamond"),
            figures.spots(ORIGINALS, "black", [*originals], [*originals.values()], **flat),
        ]
        sets = {"title": "tried on", "categoryarray": list(originals)}
        accuracy = {"title": "accuracy"} | figures.SHARE
        return figures.panels(traces, x=[sets], y=[accuracy], height=380)
