"""A backbone of two blocks and made-up tasks: everything of HyperFlow in milliseconds."""

from pathlib import Path

import torch
from timm.layers import PatchEmbed
from torch import nn

from hyperlab import params
from hyperlab.base import stream
from hyperlab.hyperflow import drift, jacobian_flow
from hyperlab.hyperflow.context import encode, pad
from hyperlab.hyperflow.drift import DriftNetwork
from hyperlab.hyperflow.jacobian import LearnedJacobian
from hyperlab.hyperflow.jacobian_flow import JacobianFlow
from hyperlab.hyperflow.trajectories import Trajectories
from hyperlab.models import belonging, targets
from hyperlab.models.targets import Target
from hyperlab.nn import lent
from hyperlab.params import ParamSubset
from hyperlab.tasks import roles
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import LabelledImages


def tiny_target(match=params.qkv_biases, *, seed=0):
    """A Target with random weights, large enough for every bias to matter."""
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 16}
    model = targets.build("vit_micro", embed_layer=PatchEmbed, **sizes)
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer is not model.head:
            noise = torch.randn(layer.weight.shape, generator=stream(seed, name))
            layer.weight.data = 1.5 * noise / noise[0].numel() ** 0.5
            layer.bias.data = 0.1 * torch.randn(
                len(layer.bias), generator=stream(seed, name, "b")
            )
    for name in ("cls_token", "pos_embed"):
        tensor = getattr(model, name)
        tensor.data = torch.randn(tensor.shape, generator=stream(seed, name))
    return Target("tiny", model, ParamSubset.select(model, match), image_size=16)


def support(n_way=3, n_shot=2, *, seed=0, size=16):
    """A support set of noise, each class with a colour of its own."""
    g = stream(seed, "support", n_way, n_shot)
    labels = torch.arange(n_way).repeat_interleave(n_shot)
    colours = torch.rand(n_way, 3, 1, 1, generator=g)[labels]
    noise = torch.rand(len(labels), 3, size, size, generator=g)
    return LabelledImages((colours + noise) / 2, labels, n_way)


def tiny_jacobian(target, *, width=16):
    """A learned Jacobian for `target` that has learned nothing."""
    dim = target.model.num_features
    inputs = (2 * len(target.model.blocks) + 2) * dim
    net = LearnedJacobian(inputs, dim, target.subset.n_params, width)
    for name, p in net.named_parameters():
        nn.init.normal_(p, std=p.shape[-1] ** -0.5, generator=stream(0, "jacobian", name))
    return net


def tiny_net(target, *, seed=None):
    """A drift network for `target`: untrained, or with a seed one that moves every token."""
    dim = target.model.num_features
    shape = drift.Shape(
        n_params=target.subset.n_params,
        token_size=dim,
        n_inputs=(2 * len(target.model.blocks) + 2) * dim,
        width=16,
        depth=1,
        image_depth=1,
        n_heads=2,
    )
    with lent(stream(0, "net")):
        net = DriftNetwork(shape).eval()
    net.theta0.copy_(target.theta0)
    if seed is not None:
        nn.init.normal_(net.out, std=0.1, generator=stream(seed, "out"))
    return net


def tiny_flow(target, *, pace=0.0):
    """A Jacobian flow for `target`, at a pace."""
    dim = target.model.num_features
    shape = jacobian_flow.Shape(
        n_params=target.subset.n_params,
        token_size=dim,
        n_inputs=(2 * len(target.model.blocks) + 2) * dim,
        n_residual=dim,
        jacobian_width=16,
    )
    flow = JacobianFlow(shape).eval()
    flow.jacobian.load_state_dict(tiny_jacobian(target).state_dict())
    flow.theta0.copy_(target.theta0)
    flow.pace.fill_(pace)
    return flow


def recorded(target, n=3):
    """Trajectories of `n` tasks, a domain each; task i moved everything by i + 1."""
    theta0 = target.theta0.expand(n, 1, -1)
    delta = torch.arange(1.0, n + 1)[:, None, None].expand_as(theta0)
    return Trajectories(
        torch.cat([theta0, theta0 + delta / 2, theta0 + delta], 1),
        torch.zeros(n, 3),
        pad([encode(target, support(seed=i)) for i in range(n)]),
        torch.arange(n),
        tuple("abc"[:n]),
        torch.zeros(n, dtype=torch.bool),
        torch.zeros(n, dtype=torch.bool),
        target.model.num_features,
        belonging.described(target),
    )


def noise_domain(name, counts):
    """A domain of noise with so many images in each class."""
    pixels = torch.randint(0, 256, (sum(counts), 1, 16, 16), generator=stream(0, name))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    classes = tuple(f"{name} {k}" for k in range(len(counts)))
    return Domain(name, pixels.byte(), labels, classes)


def small_world():
    """Two small domains, and what takes the place of `roles.present` and `roles.open_source`."""
    small = {name: noise_domain(name, [20] * 6) for name in ("sand", "snow")}
    sources = tuple(map(roles.Source, small))

    def present(role, root=None):
        return sources

    def open_source(source, role, **looks):
        return small[source.name]

    return small, {"present": present, "open_source": open_source}


def files(path):
    """Everything in a folder, but for what a killed writer left half-written."""
    found = (p for p in Path(path).rglob("*") if p.is_file() and p.suffix != ".partial")
    return {str(p.relative_to(path)): p.read_bytes() for p in found}


def modules(network):
    """One network written with torch's own layers, and the names of its row's parts in it."""
    act = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}[network.activation]
    parts, places = [], []
    for layer in network.layers:
        if not layer.kernel and layer.name == "fc1":
            parts.append(nn.Flatten())
        places.append(len(parts))
        args = (layer.n_in, layer.n_out)
        parts.append(nn.Conv2d(*args, layer.kernel) if layer.kernel else nn.Linear(*args))
        parts += [nn.MaxPool2d(2)] if layer.pool else []
        parts.append(act())
    names = [f"{i}.{part}" for i in places for part in ("weight", "bias")]
    return nn.Sequential(*parts[:-1]), dict(zip(network.shapes, names, strict=True))
