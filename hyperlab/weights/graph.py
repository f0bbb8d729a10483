"""Networks as graphs: an encoder that does not see in which order hidden channels stand.

Nodes are the input channels and every layer's channels, edges their weights. A permutation of
hidden channels only renames nodes, and all that is computed here ignores names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from ..base import ConfigError, Progress, silent
from ..nn import MLP
from .encoders import VAE, EncoderConfig, fit_vae

Rows, Nodes = Float[Tensor, " n params"], Float[Tensor, " n nodes width"]
Pairs = Float[Tensor, " n nodes nodes edge"]
Shapes = Mapping[str, tuple[int, ...]]  # name -> shape of every tensor, in the row's order


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """What networks are made of, and the sizes of the relational transformer.

    FLoWN, table 7, has 4 blocks of 8 heads, and one padded projection for all edges.
    """

    shapes: Shapes  # of the networks' tensors, e.g. `architecture.shapes`
    width: int = 64  # numbers of a node
    edge: int = 16  # numbers of an edge
    heads: int = 4  # of attention
    depth: int = 2  # blocks

    def __post_init__(self) -> None:
        layers_of(self.shapes)
        least = min(self.width, self.edge, self.heads, self.depth)
        if least < 1 or self.width % self.heads:
            raise ConfigError(
                f"width, edge, heads, depth >= 1, width a multiple of heads: {self}"
            )


class Edges(NamedTuple):
    """A layer's weights: from every node before to every node of it, `pixels` numbers each.

    Of a convolution the pixels are the kernel's. Behind a flatten they are those of one channel
    of the map, since PyTorch flattens channel by channel.
    """

    name: str
    n_out: int
    n_in: int
    pixels: int


def layers_of(shapes: Shapes) -> tuple[list[Edges], list[list[str]]]:
    """Of networks in a row, layer after layer: the edges, and the names of its nodes' numbers.

    Tensors of one axis (biases; weights and biases of norms) belong to the layer before them.
    """
    edges: list[Edges] = []
    features: list[list[str]] = []
    for name, shape in shapes.items():
        if len(shape) == 1 and edges and shape[0] == edges[-1].n_out:
            features[-1].append(name)
            continue
        n_in = edges[-1].n_out if edges else shape[1 % len(shape)]
        wide = {2: shape[-1] % n_in == 0, 4: shape[1 % len(shape)] == n_in}
        if not wide.get(len(shape)):
            raise ConfigError(
                f"{name} of shape {tuple(shape)} reads no {n_in} channels; a graph is made of "
                "convolutions, linear layers and norms, one after the other"
            )
        edges.append(Edges(name, shape[0], n_in, prod(shape) // (shape[0] * n_in)))
        features.append([])
    return edges, features


def places(sizes: Sequence[int]) -> Int64[Tensor, " nodes"]:
    """The name of every node: its own for inputs and outputs, its layer's for hidden ones."""
    names: list[int] = []
    for i, n in enumerate(sizes):
        first = names[-1] + 1 if names else 0
        hidden = 0 < i < len(sizes) - 1
        names += [first] * n if hidden else range(first, first + n)
    return torch.tensor(names)


class RelationalBlock(nn.Module):
    """Attention in which every pair of nodes has an edge, then new nodes and new edges.

    q_ij = Q n_i + Q' e_ij, k_ij = K n_j + K' e_ij, v_ij = (V n_j) (S e_ij) + B e_ij;
    n_i <- n_i + sum_j softmax_j(q_ij . k_ij) v_ij, e_ij <- e_ij + f(e_ij, e_ji, n_i, n_j).

    Source: Diao & Loynd 2023 (arXiv:2210.05062), as Kofinas et al. 2024 (arXiv:2403.12143) use
    it; the norms stand before each part here, not after it.
    """

    def __init__(self, config: GraphConfig) -> None:
        super().__init__()
        width, edge = config.width, config.edge
        self.heads = config.heads
        self.node_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.edge_norms = nn.ModuleList(nn.LayerNorm(edge) for _ in range(2))
        self.of_node, self.of_edge = nn.Linear(width, 3 * width), nn.Linear(edge, 4 * width)
        self.out = nn.Linear(width, width)
        self.mlp = MLP(width, 2 * width, width)
        self.from_edges = nn.Linear(edge, 4 * edge)
        self.from_nodes = nn.Linear(width, 4 * edge)
        self.to_edge = nn.Linear(2 * edge, edge)

    def attend(self, nodes: Nodes, edges: Pairs) -> Nodes:
        """What every node gets from all nodes."""
        q, k, v = self.of_node(nodes).chunk(3, -1)
        q_edge, k_edge, scale, shift = self.of_edge(edges).chunk(4, -1)
        alike = (q[:, :, None] + q_edge) * (k[:, None] + k_edge)
        heads = alike.unflatten(-1, (self.heads, -1))
        share = (heads.sum(-1) / heads.shape[-1] ** 0.5).softmax(2)
        values = (v[:, None] * (1 + scale) + shift).unflatten(-1, (self.heads, -1))
        return self.out(torch.einsum("nijh,nijhd->nihd", share, values).flatten(2))

    def forward(self, nodes: Nodes, edges: Pairs) -> tuple[Nodes, Pairs]:
        nodes = nodes + self.attend(self.node_norms[0](nodes), self.edge_norms[0](edges))
        nodes = nodes + self.mlp(self.node_norms[1](nodes))
        there, back = self.from_edges(self.edge_norms[1](edges)).chunk(2, -1)
        to, source = self.from_nodes(self.node_norms[2](nodes)).chunk(2, -1)
        mixed = there + back.transpose(1, 2) + to[:, :, None] + source[:, None]
        return nodes, edges + self.to_edge(F.silu(mixed))


class GraphReader(nn.Module):
    """Rows -> graph -> relational transformer -> the output nodes, side by side -> a code.

    Inputs and outputs have a name each (an embedding), hidden nodes only that of their layer. Every
    tensor is standardised as a whole: a number for each of its weights would be a name as well.

    Source: Kofinas et al. 2024 (arXiv:2403.12143), sections 3 and 4, read-out "cat last". Its code
    can repeat a flattened layer's nodes, pixel by pixel (`_cnn_to_mlp_repeat_nodes`, 87e12f2):
    right for frameworks that flatten channels last, not for PyTorch.
    """

    level: Tensor
    scale: Tensor
    place: Tensor

    def __init__(self, w: Rows, config: GraphConfig, n_out: int) -> None:
        super().__init__()
        self.shapes, (self.edges, self.features) = config.shapes, layers_of(config.shapes)
        parts = w.split([prod(shape) for shape in self.shapes.values()], 1)
        level, scale = (
            torch.cat([of(part).expand(part.shape[1]) for part in parts])
            for of in (torch.mean, torch.std)
        )
        self.register_buffer("level", level)
        self.register_buffer("scale", scale.clamp(min=1e-8))
        place = places([self.edges[0].n_in, *(e.n_out for e in self.edges)])
        self.register_buffer("place", place)
        self.names = nn.Embedding(int(place[-1]) + 1, config.width)
        self.node_in = nn.ModuleList(nn.Linear(len(f), config.width) for f in self.features)
        self.edge_in = nn.ModuleList(nn.Linear(e.pixels, config.edge) for e in self.edges)
        self.blocks = nn.ModuleList(RelationalBlock(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.out = MLP(self.edges[-1].n_out * config.width, 4 * config.width, n_out)

    def graph(self, w: Rows) -> tuple[Tensor, Tensor]:
        """Nodes (n x nodes x width) and edges (n x nodes x nodes x edge): [to, from]."""
        sizes = [prod(shape) for shape in self.shapes.values()]
        parts = ((w - self.level) / self.scale).split(sizes, 1)
        state = dict(zip(self.shapes, parts, strict=True))
        nodes = self.names(self.place).repeat(len(w), 1, 1)
        edges = w.new_zeros(len(w), *2 * [len(self.place)], self.edge_in[0].out_features)
        first = 0
        columns = (self.edges, self.features, self.edge_in, self.node_in)
        for layer, names, edge_in, node_in in zip(*columns, strict=True):
            own = slice(first + layer.n_in, first + layer.n_in + layer.n_out)
            weights = state[layer.name].view(len(w), layer.n_out, layer.n_in, -1)
            edges[:, own, first : own.start] = edge_in(weights)
            if names:
                nodes[:, own] += node_in(torch.stack([state[name] for name in names], -1))
            first = own.start
        return nodes, edges

    def forward(self, w: Rows) -> Float[Tensor, " n out"]:
        nodes, edges = self.graph(w)
        for block in self.blocks:
            nodes, edges = block(nodes, edges)
        return self.out(self.norm(nodes[:, -self.edges[-1].n_out :]).flatten(1))


class GraphVAE(VAE):
    """An autoencoder that reads a graph and writes a row.

    The same code whatever the order of a network's hidden channels. The row that comes back has the
    order of the networks that it was fitted to: align them before.
    """

    def __init__(self, w: Rows, config: EncoderConfig, graph: GraphConfig) -> None:
        if config.chunk:
            raise ConfigError(
                f"a graph is read as a whole; want chunk=0, got {config.chunk}"
            )
        self.graph = graph
        super().__init__(w, config)

    def make_reader(self, w: Rows, size: int) -> nn.Module:
        return GraphReader(w, self.graph, 2 * self.config.latent)

    def read(self, x: Rows) -> Float[Tensor, " n 1 doubled"]:
        return self.reader(self.mean + self.std * x)[:, None]


def fit_graph_vae(
    w: Rows,
    config: EncoderConfig,
    graph: GraphConfig,
    *,
    generator: torch.Generator,
    progress: Progress = silent,
) -> VAE:
    """Train a graph autoencoder, as `encoders.fit_vae` trains one of rows."""
    kind = partial(GraphVAE, graph=graph)
    return fit_vae(w, config, kind=kind, generator=generator, progress=progress)
