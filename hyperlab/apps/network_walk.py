"""Walk from one network of a zoo to another: as they are, aligned, or through their codes."""

import torch
from jaxtyping import Float
from torch import Tensor

from hyperlab.apps.state import Choice, Figure, Real, State, kept
from hyperlab.base import ConfigError, stream
from hyperlab.models.cnn import Architecture
from hyperlab.views import figures, images
from hyperlab.weights import align
from hyperlab.weights.encoders import Encoder
from hyperlab.weights.zoo import score

WAYS = ("as they are", "aligned", "through the code")
POINTS = 11  # of a line, both ends included


class WalkState(State):
    """Two networks of a zoo and a place on the way between them.

    w(alpha) = (1 - alpha) w0 + alpha w1; through the code the same of their codes, decoded.

    Args:
        networks: two or more, in their own labels.
        data: images and labels that they are tried on.
        encoder: opens the way through the code; fitted to networks of this kind.
    """

    name = "network_walk"
    first = Choice("from", lambda s: range(len(s.networks)))
    second = Choice("to", lambda s: range(len(s.networks)), 1)
    way = Choice("way", lambda s: s.ways, look="buttons")
    alpha = Real("place", high=1.0)  # 0: the first network, 1: the second
    rows = (("first", "second", "way"), ("alpha",))

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

    @property
    def ways(self) -> tuple[str, ...]:
        """Those there are."""
        return WAYS if self.encoder else WAYS[:2]

    def ends(self, way: str) -> tuple[Tensor, Tensor]:
        """What is blended on a way, 1 x params or 1 x latent each.

        The two networks, the second relabelled where they are aligned; or their codes.
        """
        rows = self.codes if way == WAYS[2] else self.networks
        start, end = (rows[[i]] for i in (self.first, self.second))
        if way == WAYS[1]:
            generator = stream(0, "walk", self.first, self.second)
            end = align.align(self.architecture, end, start[0], generator=generator)
        return start, end

    @torch.no_grad()
    def at(
        self, way: str, alpha: Float[Tensor, " points"]
    ) -> Float[Tensor, " points params"]:
        """The networks at some places of a way."""
        blend = torch.lerp(*self.ends(way), alpha[:, None])
        return self.encoder.decode(blend) if way == WAYS[2] else blend

    @kept("first", "second")
    def lines(self) -> dict[str, align.Line]:
        """Accuracy and loss on every way."""
        alpha, lines = torch.linspace(0, 1, POINTS), {}
        for way in self.ways:
            accuracy, loss = score(self.architecture, self.at(way, alpha), *self.data)
            lines[way] = align.Line(alpha, loss[None], accuracy[None])
        return lines

    def network(self) -> Float[Tensor, " 1 params"]:
        """The one at the chosen place."""
        return self.at(self.way, torch.tensor([self.alpha]))

    def accuracy(self) -> float:
        """Of the network at the chosen place."""
        return float(score(self.architecture, self.network(), *self.data)[0])

    def filters(self) -> Float[Tensor, " height width"]:
        """Its first layer's kernels."""
        return images.kernels(self.architecture, self.network()[0])

    def read_out(self) -> str:
        start, end = self.ends(self.way)
        way, apart = self.way, float((end - start).norm())
        barrier = float(self.lines()[way].barrier[0])
        if way == WAYS[2]:
            n_params = self.networks.shape[1]
            way += f" ({start.shape[1]:,} numbers for {n_params:,} weights; its ends decoded too)"
        return (
            f"From network {self.first} to {self.second}, {way}: {apart:.1f} apart, "
            f"barrier {barrier:.2f} nats. Here, at {self.alpha:.2f} of the way, "
            f"{self.accuracy():.1%} of the images are classified rightly."
        )

    def figure(self) -> Figure:
        """Left the accuracy along every way, right the first layer's kernels here."""
        lines = [
            figures.line(way, number, x.alpha, x.accuracy[0])
            for number, (way, x) in enumerate(self.lines().items())
        ]
        place = [self.alpha], [self.accuracy()]
        spot = figures.spots("here", 3, *place, size=12, marker_symbol="diamond")
        kernels, x, y = images.kernel_panel(
            self.filters(), name="kernels", title="first layer's kernels, here"
        )
        return figures.panels(
            [*lines, spot],
            [kernels],
            x=["place on the way", x],
            y=[{"title": "accuracy", "range": [0, 1]}, y],
            widths=[0.58, 0.42],
            gap=0.08,
        )
