"""Walk from one network of a zoo to another: as they are, aligned, or through their codes."""

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab.base import ConfigError, choose, stream
from hyperlab.models.cnn import Architecture
from hyperlab.views import figures, kernels
from hyperlab.views.apps.frame import App
from hyperlab.weights import align
from hyperlab.weights.encoders import Encoder
from hyperlab.weights.zoo import score

AS_THEY_ARE, ALIGNED, CODE = WAYS = ("as they are", "aligned", "through the code")
POINTS = 11  # of a line, both ends included


class WalkState(tr.HasTraits):
    """Two networks of a zoo and a place on the way between them.

    w(alpha) = (1 - alpha) w0 + alpha w1; through the code the same of their codes, decoded.

    Args:
        networks: two or more, in their own labels.
        data: images and labels that they are tried on.
        encoder: opens the way through the code; fitted to networks of this kind.
    """

    SHARED = ("first", "second", "way", "alpha")

    first = tr.Int(0, min=0)
    second = tr.Int(1, min=0)
    way = tr.Unicode(AS_THEY_ARE)
    alpha = tr.Float(0.0, min=0.0, max=1.0)  # 0: the first network, 1: the second

    def __init__(
        self,
        architecture: Architecture,
        networks: Float[Tensor, " n params"],
        data: tuple[Tensor, Tensor],
        encoder: Encoder | None = None,
    ) -> None:
        if len(networks) < 2:
            raise ConfigError(f"want two or more networks, got {len(networks)}")
        super().__init__()
        self.architecture, self.networks, self.data = architecture, networks, data
        self.encoder = encoder
        with torch.no_grad():
            self.codes = encoder.encode(networks) if encoder else None
        self._lines: dict[tuple[int, int], dict[str, align.Line]] = {}

    @property
    def ways(self) -> tuple[str, ...]:
        """Those there are."""
        return WAYS if self.encoder else WAYS[:2]

    @tr.validate("way")
    def _open(self, proposal: dict) -> str:
        return choose({way: way for way in self.ways}, proposal["value"])

    @tr.validate("first", "second")
    def _there(self, proposal: dict) -> int:
        if proposal["value"] >= len(self.networks):
            raise ConfigError(
                f"networks 0 to {len(self.networks) - 1}, got {proposal['value']}"
            )
        return proposal["value"]

    def ends(self, way: str) -> tuple[Tensor, Tensor]:
        """What is blended on a way, 1 x params or 1 x latent each.

        The two networks, the second relabelled where they are aligned; or their codes.
        """
        rows = self.codes if way == CODE else self.networks
        start, end = (rows[[i]] for i in (self.first, self.second))
        if way == ALIGNED:
            generator = stream(0, "walk", self.first, self.second)
            end = align.align(self.architecture, end, start[0], generator=generator)
        return start, end

    @torch.no_grad()
    def at(
        self, way: str, alpha: Float[Tensor, " points"]
    ) -> Float[Tensor, " points params"]:
        """The networks at some places of a way."""
        blend = torch.lerp(*self.ends(way), alpha[:, None])
        return self.encoder.decode(blend) if way == CODE else blend

    def lines(self) -> dict[str, align.Line]:
        """Accuracy and loss on every way."""
        pair = (self.first, self.second)
        if pair not in self._lines:
            self._lines[pair] = {way: self._line(way) for way in self.ways}
        return self._lines[pair]

    def _line(self, way: str) -> align.Line:
        alpha = torch.linspace(0, 1, POINTS)
        accuracy, loss = score(self.architecture, self.at(way, alpha), *self.data)
        return align.Line(alpha, loss[None], accuracy[None])

    def here(self) -> Float[Tensor, " 1 params"]:
        """The network at the chosen place."""
        return self.at(self.way, torch.tensor([self.alpha]))

    def accuracy(self) -> float:
        """Of the network here."""
        return float(score(self.architecture, self.here(), *self.data)[0])

    def filters(self) -> Float[Tensor, " height width"]:
        """The first layer's kernels here."""
        return kernels.sheet(self.architecture, self.here()[0])

    def read_out(self) -> str:
        """The picture in words and numbers."""
        start, end = self.ends(self.way)
        way, apart = self.way, float((end - start).norm())
        barrier = float(self.lines()[way].barrier[0])
        if way == CODE:
            n_params = self.networks.shape[1]
            way += f" ({start.shape[1]:,} numbers for {n_params:,} weights; its ends decoded too)"
        return (
            f"From network {self.first} to {self.second}, {way}: {apart:.1f} apart, "
            f"barrier {barrier:.2f} nats. Here, at {self.alpha:.2f} of the way, "
            f"{self.accuracy():.1%} of the images are classified rightly."
        )


def figure_of(state: WalkState) -> go.Figure:
    """Left the accuracy along every way, right the first layer's kernels here."""
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
    kernels.add(
        figure, state.filters(), name="kernels", title="first layer's kernels, here"
    )
    figure.update_xaxes(title="place on the way", col=1)
    figure.update_yaxes(title="accuracy", range=[0, 1], col=1)
    return figure.update_layout(template=figures.TEMPLATE)


def network_walk(state: WalkState, *, seed: int = 0) -> App:
    """Choose two networks and the way; move along it."""
    view, words = figures.live(figure_of(state)), w.HTML()
    numbers = list(range(len(state.networks)))
    controls = {
        "first": w.Dropdown(options=numbers, description="from"),
        "second": w.Dropdown(options=numbers, description="to"),
        "way": w.ToggleButtons(options=list(state.ways), description="way"),
        "alpha": w.FloatSlider(max=1, step=0.05, description="place"),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))
    drawn = {trace.name: trace for trace in view.data}

    def redraw(_: object = None) -> None:
        with view.batch_update():
            for name, line in state.lines().items():
                drawn[name].y = line.accuracy[0].numpy()
            drawn["here"].x, drawn["here"].y = [state.alpha], [state.accuracy()]
            drawn["kernels"].z = state.filters().numpy()
        words.value = state.read_out()

    state.observe(redraw, list(controls))
    redraw()
    rows = [[controls["first"], controls["second"], controls["way"]], [controls["alpha"]]]
    return App("network_walk", state, rows=rows, views=[view, words], seed=seed)
