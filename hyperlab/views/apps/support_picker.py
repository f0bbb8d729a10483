"""Pick support images; a generator that is told them makes networks; see where they work."""

import html
from collections.abc import Mapping, Sequence
from functools import partial

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from torch import Tensor

from hyperlab.base import ConfigError, choose, stream
from hyperlab.study.retrieval import DataSet, Retriever
from hyperlab.tasks.episodes import LabelledImages
from hyperlab.views import figures, sheets
from hyperlab.views.apps.buttons import button
from hyperlab.views.apps.frame import App
from hyperlab.weights import context
from hyperlab.weights.zoo import accuracies

N_NETWORKS = 8
IN_ORDER, TURNED = ORDERS = ("as the networks know them", "moved on by one")
NETWORKS, MEAN, ORIGINALS = "generated networks", "their mean", "originals' mean"


class PickerState(tr.HasTraits):
    """Some support images, and eight networks that are generated for them.

    Args:
        model: told support images by a reader that looks at them.
        sets: data sets whose networks the model knows.
        strangers: name -> images of data sets that it has no networks of.
        n_eval: test images that every network is tried on.

    Raises:
        ConfigError: the model is told nothing, or two data sets have one name.
    """

    SHARED = ("shown", "n_shot", "order", "draw", "start")

    shown = tr.Unicode()  # whose images are support
    n_shot = tr.Int(3, min=1, max=5)  # images of every class
    order = tr.Enum(ORDERS, IN_ORDER)  # of the labels
    draw = tr.Int(0, min=0)  # of the support images
    start = tr.Int(0, min=0)  # of the flow

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
        self._kept: dict[tuple[object, ...], dict[str, Tensor]] = {}
        self.means = {
            data.name: float(self._accuracies(data, data.originals.train[:20]).mean())
            for data in sets
        }
        super().__init__(shown=self.sets[0].name)

    @tr.validate("shown")
    def _there(self, proposal: dict) -> str:
        return choose({name: name for name in self.pools}, proposal["value"])

    def _accuracies(self, data: DataSet, rows: Tensor) -> Float[Tensor, " n"]:
        some = (part[: self.n_eval] for part in data.originals.test)
        return accuracies(data.architecture, rows, *some)

    def support(self) -> LabelledImages:
        """The images, with the labels that the model is told."""
        g = stream(self.draw, "picker", self.shown)
        found = context.draw_support(self.pools[self.shown], self.n_shot, g)
        moved = (found.labels + (self.order == TURNED)) % found.n_way
        return LabelledImages(found.images, moved, found.n_way)

    @torch.no_grad()
    def networks(self) -> Float[Tensor, " n params"]:
        """What the model makes of the support images."""
        told = self.reader(self.support())
        return self.model.networks(told, N_NETWORKS, stream(self.start, "picker", "start"))

    def accuracies(self) -> dict[str, Float[Tensor, " n"]]:
        """Of every network on every data set's test images."""
        key = (self.shown, self.n_shot, self.order, self.draw, self.start)
        if key not in self._kept:
            made = self.networks()
            self._kept[key] = {
                data.name: self._accuracies(data, self.model.cut(made, data))
                for data in self.sets
            }
        return self._kept[key]

    def picture(self) -> Float[Tensor, " 3 height width"]:
        """The support images, a column for each label."""
        support = self.support()
        order = support.labels.argsort(stable=True)
        columns = support.images[order].unflatten(0, (support.n_way, -1))
        return sheets.sheet([[row] for row in columns.transpose(0, 1)])

    def read_out(self) -> str:
        """The picture in words and numbers."""
        found = self.accuracies()
        parts = [
            f"{name} {x.mean():.1%} (originals {self.means[name]:.1%})"
            for name, x in found.items()
        ]
        best = max(found, key=lambda name: float(found[name].mean()))
        return (
            f"{len(self.support().labels)} images of {self.shown}, labels {self.order}. Mean "
            f"accuracy of {N_NETWORKS} generated networks: {', '.join(parts)}. They are "
            f"networks for {best}."
        )


def figure_of(state: PickerState) -> go.Figure:
    """The accuracy of every generated network on every data set."""
    figure = go.Figure()
    looks = {
        NETWORKS: {"color": figures.OKABE_ITO[0], "symbol": "circle-open", "size": 8},
        MEAN: {"color": figures.OKABE_ITO[1], "symbol": "diamond", "size": 12},
        ORIGINALS: {"color": "black", "symbol": "line-ew-open", "size": 26},
    }
    for name, look in looks.items():
        figure.add_scatter(name=name, mode="markers", marker=look)
    figure.data[2].update(x=list(state.means), y=list(state.means.values()))
    figure.update_layout(template=figures.TEMPLATE, height=380)
    figure.update_xaxes(title="tried on", categoryarray=list(state.means))
    figure.update_yaxes(title="accuracy", range=[0, 1], tickformat=".0%")
    redraw(figure, state)
    return figure


def redraw(figure: BaseFigure, state: PickerState) -> None:
    """Bring the traces in line with the state."""
    found = state.accuracies()
    with figure.batch_update():
        every, mean = figure.data[:2]
        every.x = [name for name, x in found.items() for _ in x]
        every.y = torch.cat(list(found.values())).tolist()
        mean.x, mean.y = list(found), [float(x.mean()) for x in found.values()]


def support_picker(state: PickerState, *, seed: int = 0) -> App:
    """Choose whose images are shown, how many, and with which labels; draw others."""
    controls = _controls(list(state.pools))
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))
    acts = {"Other images": "draw", "Other starts": "start"}
    buttons = [button(words, partial(_next, state, name)) for words, name in acts.items()]
    buttons.append(button("Reset", partial(_reset, state)))
    figure, words, picture = figures.live(figure_of(state)), w.HTML(), w.HTML()

    def show(_: object = None) -> None:
        redraw(figure, state)
        words.value = html.escape(state.read_out())
        source = sheets.data_uri(state.picture())
        alt = f"support images of {state.shown}"
        picture.value = f'<img style="max-width:none" alt="{alt}" src="{source}">'

    state.observe(show, ["shown", "n_shot", "order", "draw", "start"])
    show()
    rows, views = [list(controls.values()), buttons], [picture, figure, words]
    return App("support_picker", state, rows=rows, views=views, seed=seed)


def _next(state: PickerState, name: str) -> None:
    state.set_trait(name, getattr(state, name) + 1)


def _reset(state: PickerState) -> None:
    state.order, state.n_shot, state.draw, state.start = IN_ORDER, 3, 0, 0


def _controls(names: list[str]) -> dict[str, w.Widget]:
    style = {"style": {"description_width": "initial"}}
    return {
        "shown": w.Dropdown(options=names, description="images of", **style),
        "n_shot": w.BoundedIntText(min=1, max=5, description="of every class", **style),
        "order": w.Dropdown(options=ORDERS, description="labels", **style),
    }
