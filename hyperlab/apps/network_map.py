"""A map of networks: choose one, and see what it does and what its first layer looks for.

The same app explores a zoo (a plane of weights, coloured by accuracy or epoch) and the plane of
accuracy and novelty, coloured by where the networks come from.
"""

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from jaxtyping import Float
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, State, Whole, kept
from hyperlab.base import ConfigError
from hyperlab.models.cnn import Architecture
from hyperlab.views import figures, images
from hyperlab.weights.zoo import predict

# Of numbers: above the map, right of the legend, which then has one entry.
BAR = {"orientation": "h", "thickness": 12, "len": 0.36, "xanchor": "right", "x": 0.57}
BAR |= {"yanchor": "bottom", "y": 1.0}
Places = tuple[Tensor, tuple[str, str]]  # n x 2, and the titles of both axes


class MapState(State):
    """Networks in one or more planes, and the chosen one of them.

    Args:
        w: the networks; `names` has one for each.
        data: images and labels that a network is tried on when it is chosen.
        planes: name -> places and titles of the axes.
        colours: name -> a number or a word for each network.
    """

    name = "network_map"
    plane = Choice("plane", lambda s: list(s.planes))
    colour = Choice("colour", lambda s: list(s.colours))
    chosen = Whole("network", high=lambda s: len(s.w) - 1, look="box")

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

    @property
    def rows(self) -> list[list[str]]:
        """What there is but one of is not to be chosen."""
        several = {"plane": self.planes, "colour": self.colours}
        shown = [name for name, have in several.items() if len(have) > 1]
        return [[*shown, "chosen", "or click a point"]]

    def clicked(self, trace: go.Scatter, place: int) -> None:
        """The network that was clicked is chosen."""
        if trace.customdata is not None:
            self.chosen = int(trace.customdata[place])

    def groups(self, colour: str) -> dict[str, list[int]]:
        """Word -> its networks, in order of appearance; of numbers all under the colour's name."""
        values, rows = self.colours[colour], {}
        for i in range(len(self.w)):
            key = colour if isinstance(values, Tensor) else values[i]
            rows.setdefault(key, []).append(i)
        return rows

    def values(self, i: int) -> dict[str, str]:
        """What is known of a network: colour -> number or word."""
        return {
            name: f"{float(v[i]):.4g}" if isinstance(v, Tensor) else v[i]
            for name, v in self.colours.items()
        }

    @kept("chosen")
    def right(self) -> Float[Tensor, " images"]:
        """1 where the chosen network is right, else 0; evaluated when it is first chosen."""
        images, labels = self.data
        return (
            predict(self.architecture, self.w[[self.chosen]], images)[0] == labels
        ).float()

    def accuracy(self) -> float:
        """Of the chosen network."""
        return float(self.right().mean())

    def per_class(self) -> Float[Tensor, " classes"]:
        """Its accuracy on each class; NaN where the data have no image."""
        labels, n = self.data[1], self.architecture.n_classes
        return labels.bincount(self.right(), n) / labels.bincount(minlength=n)

    def filters(self) -> Float[Tensor, " height width"]:
        """Its first layer's kernels."""
        return images.kernels(self.architecture, self.w[self.chosen])

    def read_out(self) -> str:
        known = ", ".join(f"{k} {v}" for k, v in self.values(self.chosen).items())
        per_class = self.per_class()
        worst = int(per_class.nan_to_num(nan=2.0).argmin())
        return (
            f"Network {self.chosen}, {self.names[self.chosen]}: {known}. Tried now on "
            f"{len(self.data[1]):,} images, it is right on {self.accuracy():.1%}; worst on "
            f"class {worst} with {float(per_class[worst]):.0%}."
        )

    def layout(self) -> dict[str, object]:
        titles = self.planes[self.plane][1]
        axes = {"xaxis": titles[0], "yaxis": titles[1]}
        return {axis: {"title": {"text": t}, "autorange": True} for axis, t in axes.items()}

    def figure(self) -> Figure:
        """Left all networks; right the chosen one's kernels, and its accuracy on each class."""
        networks = [trace for colour in self.colours for trace in _points(self, colour)]
        at = self.planes[self.plane][0][[self.chosen]].T
        ring = figures.ring("chosen", *at, marker_size=17, hoverinfo="skip")
        bars = go.Bar(
            name="its accuracy",
            x=list(range(self.architecture.n_classes)),
            y=figures.array(self.per_class()),
            marker_color=figures.OKABE_ITO[0],
            showlegend=False,
            hovertemplate="class %{x}: %{y:.1%} right<extra></extra>",
        )
        classes = {"title": "its accuracy on each class", "dtick": 1, "ticks": ""}
        up = {"range": [0, 1], "dtick": 0.5, "side": "right"}
        kernels, x, y = images.kernel_panel(
            self.filters(), name="its kernels", title="chosen network's kernels"
        )
        return figures.panels(
            [*networks, ring],
            [kernels],
            [bars],
            x=["", x, classes],
            y=["", y, up],
            widths=[0.62, 0.38],
            gap=0.08,
            height=560,
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
    for what, count in (counts | {"names": len(names)}).items():
        if count != n:
            raise ConfigError(f"{what}: want one for each of {n} networks, got {count}")


def _values(name: str, given: Sequence | Tensor) -> list[str] | Float[Tensor, " n"]:
    if all(isinstance(value, str) for value in given):
        return list(given)
    try:
        return torch.as_tensor(given).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"colour {name!r}: want all numbers or all words") from error


def _points(state: MapState, colour: str) -> list[go.Scatter]:
    """All networks where they are in the plane, in these colours, a trace for each word."""
    values, places = state.colours[colour], figures.array(state.planes[state.plane][0])
    return [
        go.Scatter(
            name=name,
            x=places[rows, 0],
            y=places[rows, 1],
            visible=colour == state.colour,
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
