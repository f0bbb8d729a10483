"""What seeded training gives, as digests of every bit: `python -m tests.goldens` records them.

Bits depend on processor and version of torch. Where those are not the recorded ones, the size of
each tensor is compared instead.
"""

import hashlib
import json
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

from hyperlab.base import PRETRAINED, stream
from hyperlab.executor import one_thread
from hyperlab.hyperflow import adapt, collect, drift, jacobian, jacobian_flow, training
from hyperlab.models import cnn, targets
from hyperlab.tasks import augment, roles, styles
from hyperlab.tasks.drawn import synthetic
from hyperlab.weights import (
    context,
    diffusion,
    encoders,
    flow,
    graph,
    heads,
    recipes,
    tails,
    zoo_store,
)
from hyperlab.weights import zoo as zoos
from tests.tiny import small_world, support, tiny_target

FILE = Path(__file__).with_name("goldens.json")
Found = Iterator[tuple[str, Tensor | nn.Module]]


def fitted_drift() -> Found:
    """A collection, a learned Jacobian and a drift network of it, and an adaptation by that."""
    target, config = tiny_target(), replace(collect.CollectConfig.at("smoke"), n_tasks=4)
    with ExitStack() as stack:
        for name, way in small_world()[1].items():
            stack.enter_context(mock.patch.object(roles, name, way))
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        roles.kept.cache_clear()
        store = collect.collect(target, Path(folder) / "store", config)
        data, again = store.read(), list(collect.redrawn(store))
        roles.kept.cache_clear()
    yield "collection: thetas", data.thetas
    yield "collection: features", data.contexts.features
    yield "collection: residual", data.contexts.residual
    short = replace(jacobian.JacobianConfig.at("smoke"), n_tasks=4)
    seen = jacobian.gather(target, again, short, generator=stream(0, "look"))
    options = {"token_size": 32, "generator": stream(0, "jacobian")}
    learned = jacobian.fit_jacobian(seen, short, **options)
    yield "jacobian", learned
    for path in ("linear", "cubic", "piecewise"):
        short = replace(training.DriftConfig.at("smoke"), steps=20, path=path)
        net, _ = training.fit_drift(data, short, generator=stream(0, path))
        yield f"drift: {path}", net
        yield f"adaptation: {path}", adapt.LearnedFlow(net=net, steps=3)(target, support())
    ours = adapt.LearnedFlow(net=jacobian_flow.fit_pace(data, learned), steps=3)
    yield "adaptation: Jacobian flow", ours(target, support())
    yield "adaptation: tuning", adapt.bias_tuning(steps=3)(target, support())


def fitted_networks() -> Found:
    """A zoo and a tail, autoencoders, generators and a set encoder."""
    config = replace(zoos.ZooConfig.at("smoke"), n_train=100)
    splits = recipes.load(config.recipe).first(100, 40)
    for name, columns in zoos.train(config, splits, (0, 1)).items():
        yield f"zoo: {name}", columns
    short = replace(tails.NormConfig.at("smoke"), epochs=1)
    short = replace(short, tail=replace(short.tail, n=3))
    trained = tails.train_tail(short, "digits", splits.first(60, 20))
    yield "tail", trained.w
    yield "tail: host", trained.architecture.model
    net = cnn.cnn_small()
    w = torch.stack([recipes.untrained(net, "uniform", stream(i)) for i in range(8)])
    short = replace(encoders.EncoderConfig.at("smoke"), steps=5, batch=4)
    yield "autoencoder", encoders.fit_vae(w, short, generator=stream(0, "vae"))
    shape = graph.GraphConfig(shapes=net.shapes, width=8, edge=4, heads=2, depth=1)
    made = graph.fit_graph_vae(w, short, shape, generator=stream(0, "graph"))
    yield "graph autoencoder", made
    z, c = (torch.randn(40, n, generator=stream(0, "z", n)) for n in (6, 2))
    quick = flow.FlowConfig(width=16, depth=1, steps=30, batch=8)
    for name, fit in {"flow": flow.fit_flow, "diffusion": diffusion.fit_diffusion}.items():
        model = fit(z, quick, context=c, generator=stream(0, name))
        yield name, model
        drawn = model.sample(3, generator=stream(1), steps=4, context=c[:3])
        yield f"{name}: samples", drawn
    pool = (torch.randn(60, 16, generator=stream(0, "f")), torch.arange(60) % 6)
    small = {"n_classes": 4, "label": 8, "hidden": 16, "steps": 5, "batch": 2, "n_shot": 2}
    made = context.fit_sets([pool], context.SetConfig(**small), generator=stream(0, "sets"))
    yield "set encoder", made
    yield "heads", heads.fit_heads(torch.randn(3, 5, 4, 8, generator=stream(0, "heads")))


def shipped() -> Found:
    """The networks that come with the package, as they are loaded."""
    yield "shipped: Jacobian flow", jacobian_flow.load()
    yield "shipped: HyperFlow-L", drift.load("linear")
    yield "shipped: vit_micro", targets.load().model
    yield "shipped: context", context.load(PRETRAINED / "context.safetensors")
    for name in zoo_store.SHIPPED:
        yield f"shipped: zoo_{name}", zoo_store.shipped(name).w


def drawn() -> Found:
    """Pictures of every procedural family, every operation of a style, and a view, of noise."""
    for name in synthetic.FAMILIES:
        pictures = synthetic.render(name, n_classes=4, n_per_class=3).images
        yield f"drawn: {name}", torch.from_numpy(pictures)
    images = torch.rand(3, 3, 32, 32, generator=stream(0, "images"))
    for name, kind in styles.OPERATIONS.items():
        operation = styles.Operation(name, kind.draw(stream(1, name), 1.0))
        yield f"style: {name}", styles.Style((operation,), seed=3).apply(images)
    yield "view", augment.view(images, stream(0, "view"))


def numbers(found: Tensor | nn.Module) -> Tensor:
    """A tensor, or all numbers of a network in the order of their names."""
    if isinstance(found, Tensor):
        return found.detach().contiguous()
    state = found.state_dict()
    return torch.cat([state[name].float().flatten() for name in sorted(state)])


def machine() -> str:
    """What the bits depend on."""
    info, cpu = Path("/proc/cpuinfo"), [platform.processor()]
    if info.exists():
        fields = r"^(?:vendor_id|cpu family|model|stepping)\s*: (.*)$"
        cpu = re.findall(fields, info.read_text(encoding="utf-8"), re.MULTILINE)[:4]
    return " ".join([*cpu, torch.backends.cpu.get_cpu_capability(), torch.__version__])


def measured() -> dict[str, list[str | float]]:
    """Name -> digest of the bits, and root mean square."""
    with one_thread():
        pairs = [*fitted_drift(), *fitted_networks(), *shipped(), *drawn()]
    rows = {name: numbers(found) for name, found in pairs}
    return {
        name: [
            hashlib.sha256(x.numpy().tobytes()).hexdigest()[:16],
            float(x.double().square().mean().sqrt()),
        ]
        for name, x in rows.items()
    }


if __name__ == "__main__":
    record = {"machine": machine(), "goldens": measured()}
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
