"""A map of networks: choose one, and see what it does and what its first layer looks for.

The same app explores a zoo (a plane of weights, coloured by accuracy or epoch) and the plane of
accuracy and novelty, coloured by where the networks come from.
"""

import html
from collections.abc import Mapping, Sequence

import ipywidgets as w
import plotly.graph_objects as go
import torch
import traitlets as tr
from jaxtyping import Float
from plotly.basedatatypes import BaseFigure
from plotly.subplots import make_subplots
from torch import Tensor

from hyperlab.base import ConfigError, choose
from hyperlab.models.cnn import Architecture
from hyperlab.views import figures, kernels
from hyperlab.views.apps.frame import App
from hyperlab.weights.zoo import predict

# Of numbers: above the map, right of the legend, which then has one entry.
BAR = {"orientation": "h", "thickness": 12, "len": 0.36, "xanchor": "right", "x": 0.57}
BAR |= {"yanchor": "bottom", "y": 1.0}
Places = tuple[Tensor, tuple[str, str]]  # n x 2, and the titles of both axes


class MapState(tr.HasTraits):
    """Networks in one or more planes, and the chosen one of them.

    Args:
        w: the networks; `names` has one for each.
        data: images and labels that a network is tried on when it is chosen.
        planes: name -> places and titles of the axes.
        colours: name -> a number or a word for each network.

    Raises:
        ConfigError: no networks, or a plane, colours or names of another number.
    """

    SHARED = ("plane", "colour", "chosen")

    plane = tr.Unicode()
    colour = tr.Unicode()
    chosen = tr.Int(0)

    def __init__(
        self,
        architecture: Architecture,
        w: Float[Tensor, " n params"],
        data: tuple[Tensor, Tensor],
        planes: Mapping[str, Places],
        colours: Mapping[str, Sequence | Tensor],
        names: Sequence[str],
    ) -> None:
        architecture.unflatten(w[:0])
        _require(len(w), planes, colours, names)
        super().__init__()
        self.architecture, self.w, self.data = architecture, w, data
        self.planes, self.names = dict(planes), list(names)
        self.colours = {name: _values(name, given) for name, given in colours.items()}
        self._said: dict[int, Tensor] = {}
        self.plane, self.colour = next(iter(planes)), next(iter(colours))

    @tr.validate("plane", "colour")
    def _known(self, proposal: dict) -> str:
        have = self.planes if proposal["trait"].name == "plane" else self.colours
        choose(have, proposal["value"])
        return proposal["value"]

    @tr.validate("chosen")
    def _there(self, proposal: dict) -> int:
        if not 0 <= proposal["value"] < len(self.w):
            raise ConfigError(f"networks 0 to {len(self.w) - 1}, got {proposal['value']}")
        return proposal["value"]

    def groups(self, colour: str) -> dict[str, list[int]]:
        """Word -> its networks, in order of appearance; of numbers all under the colour's name."""
        values, found = self.colours[colour], {}
        for i in range(len(self.w)):
            key = colour if isinstance(values, Tensor) else values[i]
            found.setdefault(key, []).append(i)
        return found

    def values(self, i: int) -> dict[str, str]:
        """What is known of a network: colour -> number or word."""
        return {
            name: f"{float(v[i]):.4g}" if isinstance(v, Tensor) else v[i]
            for name, v in self.colours.items()
        }

    def right(self) -> Float[Tensor, " images"]:
        """1 where the chosen network is right, else 0; evaluated when it is first chosen."""
        images, labels = self.data
        if self.chosen not in self._said:
            row = self.w[[self.chosen]]
            self._said[self.chosen] = predict(self.architecture, row, images)[0]
        return (self._said[self.chosen] == labels).float()

    def accuracy(self) -> float:
        """Of the chosen network."""
        return float(self.right().mean())

    def per_class(self) -> Float[Tensor, " classes"]:
        """Its accuracy on each class; NaN where the data have no image."""
        labels, n = self.data[1], self.architecture.n_classes
        return labels.bincount(self.right(), n) / labels.bincount(minlength=n)

    def filters(self) -> Float[Tensor, " height width"]:
        """Its first layer's kernels."""
        return kernels.sheet(self.architecture, self.w[self.chosen])

    def read_out(self) -> str:
        """What is known of it and what it does, in words."""
        known = ", ".join(f"{k} {v}" for k, v in self.values(self.chosen).items())
        per_class = self.per_class()
        worst = int(per_class.nan_to_num(nan=2.0).argmin())
        return (
            f"Network {self.chosen}, {self.names[self.chosen]}: {known}. Tried now on "
            f"{len(self.data[1]):,} images, it is right on {self.accuracy():.1%}; worst on "
            f"class {worst} with {float(per_class[worst]):.0%}."
        )


def _require(
    n: int,
    planes: Mapping[str, Places],
    colours: Mapping[str, Sequence | Tensor],
    names: Sequence[str],
) -> None:
    if not (n and planes and colours):
        raise ConfigError(
            f"want one or more networks, planes and colours, got {n}, {len(planes)} and "
            f"{len(colours)}"
        )
    for name, (places, _) in planes.items():
        if places.shape != (n, 2):
            raise ConfigError(
                f"plane {name!r}: want {n} x 2 places, got {tuple(places.shape)}"
            )
    counts = {f"colour {name!r}": len(given) for name, given in colours.items()}
    for what, found in (counts | {"names": len(names)}).items():
        if found != n:
            raise ConfigError(f"{what}: want one for each of {n} networks, got {found}")


def _values(name: str, given: Sequence | Tensor) -> list[str] | Float[Tensor, " n"]:
    if all(isinstance(value, str) for value in given):
        return list(given)
    try:
        return torch.as_tensor(given).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"colour {name!r}: want all numbers or all words") from error


def figure_of(state: MapState) -> go.Figure:
    """Left all networks; right the chosen one's kernels, and its accuracy on each class."""
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"rowspan": 2}, {}], [None, {}]],
        column_widths=[0.62, 0.38],
        row_heights=[0.55, 0.45],
        horizontal_spacing=0.08,
        vertical_spacing=0.24,
    )
    for colour in state.colours:
        figure.add_traces(_points(state, colour), rows=1, cols=1)
    ring = {"size": 17, "symbol": "circle-open", "color": "black", "line": {"width": 3}}
    figure.add_scatter(
        name="chosen", mode="markers", marker=ring, hoverinfo="skip", row=1, col=1
    )
    kernels.add(
        figure,
        state.filters(),
        name="its kernels",
        title="chosen network's kernels",
    )
    figure.add_bar(
        name="its accuracy",
        x=list(range(state.architecture.n_classes)),
        marker={"color": figures.OKABE_ITO[0]},
        hovertemplate="class %{x}: %{y:.1%} right<extra></extra>",
        showlegend=False,
        row=2,
        col=2,
    )
    figure.update_xaxes(title="its accuracy on each class", dtick=1, ticks="", row=2, col=2)
    figure.update_yaxes(range=[0, 1], dtick=0.5, side="right", row=2, col=2)
    figure.update_layout(template=figures.TEMPLATE, height=560)
    place(figure, state)
    mark(figure, state)
    return figure


def _points(state: MapState, colour: str) -> list[go.Scatter]:
    """All networks in these colours, a trace for each word."""
    values = state.colours[colour]
    return [
        go.Scatter(
            name=name,
            meta=colour,
            customdata=rows,
            text=[_hover(state, i) for i in rows],
            hovertemplate="%{text}<extra></extra>",
            mode="markers",
            marker=_marker(colour, values, number),
            showlegend=not isinstance(values, Tensor),
        )
        for number, (name, rows) in enumerate(state.groups(colour).items())
    ]


def _hover(state: MapState, i: int) -> str:
    known = (f"{html.escape(k)}: {html.escape(v)}" for k, v in state.values(i).items())
    return "<br>".join([f"<b>{i}: {html.escape(state.names[i])}</b>", *known])


def _marker(name: str, values: list[str] | Tensor, number: int) -> dict[str, object]:
    look = {"size": 8, "line": {"color": "white", "width": 0.5}}  # tells neighbours apart
    if isinstance(values, Tensor):
        bar = BAR | {"title": {"text": name, "side": "top"}}
        return look | {"color": values.numpy(), "colorscale": "Viridis", "colorbar": bar}
    n = len(figures.MARKERS)  # a pair of colour and marker comes again after n * n words
    colour, symbol = figures.OKABE_ITO[number % n], (number + number // n) % n
    return look | {"color": colour, "symbol": figures.MARKERS[symbol]}


def place(figure: BaseFigure, state: MapState) -> None:
    """Put every network where it is in the plane, in the chosen colours."""
    places, titles = state.planes[state.plane]
    for trace in figure.data[:-3]:
        trace.x, trace.y = places[list(trace.customdata)].T.numpy()
        trace.visible = trace.meta == state.colour
    axes = (figure.layout.xaxis, figure.layout.yaxis)
    for axis, title in zip(axes, titles, strict=True):
        axis.update(title=title, autorange=True)


def mark(figure: BaseFigure, state: MapState) -> None:
    """Ring the chosen network, and show what it is."""
    ring, picture, bars = figure.data[-3:]
    x, y = state.planes[state.plane][0][state.chosen].tolist()
    ring.x, ring.y = [x], [y]
    picture.z, bars.y = state.filters().numpy(), state.per_class().numpy()


def network_map(state: MapState, *, seed: int = 0) -> App:
    """Choose a network by a click or by its number; choose the plane and the colours."""
    view, words = figures.live(figure_of(state)), w.HTML()
    controls = {
        "plane": w.Dropdown(options=list(state.planes), description="plane"),
        "colour": w.Dropdown(options=list(state.colours), description="colour"),
        "chosen": w.BoundedIntText(max=len(state.w) - 1, description="network"),
    }
    for name, control in controls.items():
        tr.link((state, name), (control, "value"))
    several = {"plane": state.planes, "colour": state.colours}
    shown = [c for name, c in controls.items() if len(several.get(name, "ab")) > 1]

    def click(trace: go.Scatter, points: object, _: object) -> None:
        if points.point_inds:
            state.chosen = int(trace.customdata[points.point_inds[0]])

    for trace in view.data[:-3]:
        trace.on_click(click)

    def redraw(change: dict) -> None:
        with view.batch_update():
            if change["name"] != "chosen":
                place(view, state)
            mark(view, state)
        tell()

    def tell() -> None:
        words.value = html.escape(state.read_out())

    state.observe(redraw, list(controls))
    tell()
    rows = [[*shown, w.Label("or click a point")]]
    return App("network_map", state, rows=rows, views=[view, words], seed=seed)
