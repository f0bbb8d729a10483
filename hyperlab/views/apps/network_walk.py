"""Walk from one network of a zoo to another, as they are or aligned, and see what is on the way."""

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab.base import ConfigError, stream
from hyperlab.models.cnn import Architecture
from hyperlab.views import figures
from hyperlab.weights import align
from hyperlab.weights.zoo import score

WAYS = ("as they are", "aligned")
COLUMNS = 4  # filters in a row of the picture


class WalkState(tr.HasTraits):
    """Two networks of a zoo and a place on the straight line between them.

    Args:
        networks: two or more, in their own labels.
        data: images and labels that they are tried on.
    """

    first = tr.Int(0, min=0)
    second = tr.Int(1, min=0)
    way = tr.Enum(WAYS, WAYS[0])
    alpha = tr.Float(0.0, min=0.0, max=1.0)  # 0: the first network, 1: the second

    def __init__(
        self,
        architecture: Architecture,
        networks: Float[Tensor, " n params"],
        data: tuple[Tensor, Tensor],
    ) -> None:
        if len(networks) < 2:
            raise ConfigError(f"want two or more networks, got {len(networks)}")
        super().__init__()
        self.architecture, self.networks, self.data = architecture, networks, data
        self._lines: dict[tuple[int, int], dict[str, align.Line]] = {}

    @tr.validate("first", "second")
    def _there(self, proposal: dict) -> int:
        if proposal["value"] >= len(self.networks):
            raise ConfigError(
                f"networks 0 to {len(self.networks) - 1}, got {proposal['value']}"
            )
        return proposal["value"]

    def ends(self, way: str) -> tuple[Tensor, Tensor]:
        """The two networks, 1 x params each; the second relabelled where they are aligned."""
        start, end = (self.networks[[i]] for i in (self.first, self.second))
        if way == "aligned":
            generator = stream(0, "walk", self.first, self.second)
            end = align.align(self.architecture, end, start[0], generator=generator)
        return start, end

    def lines(self) -> dict[str, align.Line]:
        """Accuracy and loss on both ways."""
        pair = (self.first, self.second)
        if pair not in self._lines:
            self._lines[pair] = {
                way: align.line(self.architecture, *self.ends(way), self.data)
                for way in WAYS
            }
        return self._lines[pair]

    def here(self) -> Float[Tensor, " 1 params"]:
        """The network at the chosen place."""
        return torch.lerp(*self.ends(self.way), self.alpha)

    def accuracy(self) -> float:
        """Of the network here."""
        return float(score(self.architecture, self.here(), *self.data)[0])

    def filters(self) -> Float[Tensor, " height width"]:
        """The first layer's kernels here, side by side, zeros between them."""
        name = next(iter(self.architecture.shapes))
        kernels = self.architecture.unflatten(self.here())[name][0, :, 0]
        cells = torch.nn.functional.pad(kernels, (0, 1, 0, 1))
        rows = [torch.cat([*row], 1) for row in cells.split(COLUMNS)]
        return torch.cat(rows)

    def read_out(self) -> str:
        """The picture in words and numbers."""
        line = self.lines()[self.way]
        start, end = self.ends(self.way)
        apart, barrier = float((end - start).norm()), float(line.barrier[0])
        return (
            f"From network {self.first} to {self.second}, {self.way}: {apart:.1f} apart, "
            f"barrier {barrier:.2f} nats. Here, at {self.alpha:.2f} of the way, "
            f"{self.accuracy():.1%} of the images are classified rightly."
        )


def figure_of(state: WalkState) -> go.Figure:
    """Left the accuracy along both ways, right the first layer's kernels here."""
    figure = make_subplots(cols=2, column_widths=[0.58, 0.42], horizontal_spacing=0.08)
    for number, (name, line) in enumerate(state.lines().items()):
        look = {"color": figures.OKABE_ITO[number], "dash": figures.DASHES[number]}
        figure.add_scatter(
            x=line.alpha.numpy(),
            y=line.accuracy[0].numpy(),
            name=name,
            line=look,
            col=1,
            row=1,
        )
    spot = {"color": figures.OKABE_ITO[3], "size": 12, "symbol": "diamond"}
    figure.add_scatter(
        x=[state.alpha], y=[state.accuracy()], name="here", mode="markers", marker=spot,
        col=1, row=1,
    )  # fmt: skip
    figure.add_heatmap(
        z=state.filters().numpy(), name="kernels", colorscale="RdBu", zmid=0, showscale=False,
        col=2, row=1,
    )  # fmt: skip
    figure.update_layout(template=figures.TEMPLATE)
    figure.update_xaxes(title="place on the way", col=1)
    figure.update_yaxes(title="accuracy", range=[0, 1], col=1)
    plain = {"visible": True, "showticklabels": False, "showgrid": False, "ticks": ""}
    plain |= {"showline": False, "constrain": "domain"}
    figure.update_xaxes(title="first layer's kernels, here", **plain, col=2)
    return figure.update_yaxes(autorange="reversed", scaleanchor="x2", **plain, col=2)


def network_walk(state: WalkState) -> w.VBox:
    """Choose two networks and the way; move along it."""
    view, words = figures.live(figure_of(state)), w.HTML()
    numbers = list(range(len(state.networks)))
    controls = {
        "first": w.Dropdown(options=numbers, description="from"),
        "second": w.Dropdown(options=numbers, description="to"),
        "way": w.ToggleButtons(options=list(WAYS), description="way"),
        "alpha": w.FloatSlider(max=1, step=0.05, description="place"),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))

    def redraw(_: object = None) -> None:
        with view.batch_update():
            for trace, line in zip(view.data, state.lines().values(), strict=False):
                trace.y = line.accuracy[0].numpy()
            view.data[2].x, view.data[2].y = [state.alpha], [state.accuracy()]
            view.data[3].z = state.filters().numpy()
        words.value = state.read_out()

    state.observe(redraw, list(controls))
    redraw()
    top = w.HBox([controls["first"], controls["second"], controls["way"]])
    return w.VBox([top, controls["alpha"], view, words])
