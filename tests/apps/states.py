"""A state of every app, small enough to be made anew for each test."""

from functools import cache

import torch

from hyperlab import interpolants, params
from hyperlab.apps import (
    across_domains,
    calculator,
    drift_field,
    flow2d,
    flow_sampler,
    head_comparison,
    interpolant,
    network_map,
    network_walk,
    path_browser,
    stepper,
    subset_explorer,
    support_picker,
    task_browser,
    through_time,
)
from hyperlab.apps.bench import Bench
from hyperlab.base import stream
from hyperlab.evaluation import through
from hyperlab.hyperflow import adapt
from hyperlab.hyperflow.context import encode, pad
from hyperlab.hyperflow.teacher import TeacherConfig
from hyperlab.hyperflow.trajectories import Trajectories
from hyperlab.models import belonging, cnn
from hyperlab.tasks import episodes
from hyperlab.tasks.domains import Domain
from hyperlab.tasks.episodes import Episode, LabelledImages
from hyperlab.weights import (
    align,
    encoders,
    flow,
    generate,
    head_generators,
    heads,
    recipes,
)
from hyperlab.weights.context import MeanFeatures
from hyperlab.weights.novelty import Originals
from hyperlab.weights.retriever import DataSet, Retriever
from tests.tiny import support, tiny_net, tiny_target

TARGET, NET = tiny_target(), cnn.cnn_small()
NETWORKS = torch.stack(
    [recipes.untrained(NET, "kaiming_uniform", stream(i)) for i in range(12)]
)
DATA = (torch.randn(20, 1, 28, 28, generator=stream(1)), torch.arange(20) % 10)
QUICK = flow.FlowConfig(prior="normal", width=16, depth=1, steps=30, batch=8, lr=1e-2)
MAPPED = (torch.randn(40, 1, 28, 28, generator=stream(7)), torch.arange(40) % 9)
PLACES = torch.randn(2, 6, 2, generator=stream(8))
PLANES = {"PCA": (PLACES[0], ("component 1", "component 2"))}
PLANES |= {"novelty": (PLACES[1], ("distance", "accuracy"))}
COLOURS = {"epoch": range(6), "kind": ["old", "old", "new", "old", "new", "a < b"]}
NAMES = [f"seed {i}" for i in range(6)]


def gradient_flow(**changes):
    curvatures = torch.tensor([1.0, 8.0], dtype=torch.float64)
    parts = {
        "loss": lambda theta: (curvatures * theta**2).sum() / 2,
        "start": torch.tensor([1.0, 1.0], dtype=torch.float64),
        "t_end": 2.0,
        "box": (-1.5, 1.5, -1.5, 1.5),
    }
    return flow2d.GradientFlow(flow2d.Landscape(**(parts | changes)), step_size=0.1)


def interpolated():
    times = torch.linspace(0, 1, 25, dtype=torch.float64)
    rates = torch.tensor([1.0, 3.0, 9.0], dtype=torch.float64)
    path = torch.exp(-times[:, None] * rates)
    return interpolant.InterpolantState(path, -rates * path, pieces=6)


def walk(encoder=None):
    """Network 1 is network 0 in other labels; network 2 is another one."""

    new = align.random_relabelling(NET, 1, stream(3))
    w = torch.stack([NETWORKS[0], align.relabel(NET, NETWORKS[:1], new)[0], NETWORKS[2]])
    encoder = encoder and encoder(w)
    return network_walk.WalkState(NET, w, DATA, encoder)


def walk_by_code():
    return walk(lambda w: encoders.PCA(w, 2))


def mapped(**changes):
    parts = {"w": NETWORKS[:6], "data": MAPPED, "planes": PLANES}
    parts |= {"colours": COLOURS, "names": NAMES}
    return network_map.MapState(NET, **(parts | changes))


@cache
def sampler_parts():
    pca = encoders.PCA(NETWORKS, 6)
    return flow.fit_flow(pca.encode(NETWORKS), QUICK, generator=stream(2)), pca


def sampler():
    return flow_sampler.SamplerState(*sampler_parts(), NET, NETWORKS, DATA)


THROUGH = generate.ThroughConfig(steps=5, networks=2, batch=10, lr=1e-2)
IMAGES = recipes.Images(*DATA)


@cache
def through_parts():
    pca = encoders.PCA(NETWORKS, 4)
    codes = pca.encode(NETWORKS)
    maker = generate.Maker(flow.fit_flow(codes, QUICK, generator=stream(2)), pca, NET)
    return maker, codes, through.costs(maker, IMAGES, THROUGH, (0.0, 0.4, 0.8))


def tuned():
    maker, codes, costs = through_parts()
    plain = (torch.tensor([0.0, 10.0]), torch.tensor([0.1, 0.2]))
    return through_time.ThroughState(maker, codes, (IMAGES, IMAGES), THROUGH, costs, plain)


def noise_images(name, channels):
    return torch.rand(40, channels, 28, 28, generator=stream(0, name)), torch.arange(
        40
    ) % 10


@cache
def picker_parts():
    def data_set(name, rows):
        pool = LabelledImages(*noise_images(f"{name} pool", 3), 10)
        some = [noise_images(f"{name} {part}", 1) for part in ("val", "test")]
        return DataSet(name, Originals(NET, rows[:5], rows[5:], *some), pool, pool)

    sets = [data_set("sand", NETWORKS[:6]), data_set("snow", NETWORKS[6:])]
    pca = encoders.PCA(torch.cat([data.originals.train for data in sets]), 4)
    codes = torch.cat([pca.encode(data.originals.train) for data in sets])
    context = torch.rand(10, 320, generator=stream(1))
    config = flow.FlowConfig(width=16, depth=1, steps=2, batch=4)
    found = flow.fit_flow(codes, config, context=context, generator=stream(2))
    reader = MeanFeatures(tiny_target())
    return Retriever(pca, found, NET, {data.name: reader for data in sets}), sets


def picker():
    strangers = {"fog": LabelledImages(*noise_images("fog", 3), 10)}
    return support_picker.PickerState(*picker_parts(), strangers, n_eval=20)


def head_tasks(n, k, seed=0):
    centres = torch.randn(n, 5, 1, 4, generator=stream(0, "centres", n))
    return centres + 0.6 * torch.randn(n, 5, k, 4, generator=stream(seed, "images"))


@cache
def head_parts():
    """A generator fitted to a few tasks of noise."""
    base, support, many = (
        heads.BaseConfig(steps=20),
        head_tasks(30, 2),
        head_tasks(30, 12, 1),
    )
    whiten = heads.Whitening.fit(many)
    context, start = heads.tell(whiten(support), base)
    found = heads.HeadSet(context, start, heads.fit_heads(whiten(many)))
    config = head_generators.GeneratorConfig(
        latent=3, flow=flow.FlowConfig(prior="normal", width=16, depth=1, steps=40)
    )
    made = head_generators.fit_generator(
        found, whiten, base, config, generator=stream(0, "made")
    )
    return made, support[:3], many[:3], ["a", "b", "c"]


def compared():
    return head_comparison.HeadState(*head_parts())


def task(seed):
    return Episode(support(seed=seed), support(seed=seed + 50), "made up", tuple("abc"))


METHODS = {
    "none": lambda _: adapt.NoAdaptation(),
    "tuning": lambda n: adapt.bias_tuning(steps=n, lr=2.0),
}
TASKS = {"one": [task(i) for i in range(3)], "two": [task(i + 10) for i in range(3)]}


def across(tasks=None, methods=METHODS):
    return across_domains.AcrossDomains(TARGET, TASKS if tasks is None else tasks, methods)


def _tuning(name, match, lr, rank=0):
    config = TeacherConfig(steps=3, lr=lr, optimiser="adam")
    return adapt.FineTuning(name=name, match=match, config=config, rank=rank)


MOVERS = [
    _tuning("keys", lambda name: (1,) if params.qkv_biases(name) else False, 0.03),
    _tuning("biases", params.qkv_biases, 0.03),
    _tuning("everything", params.everything, 0.002),
    _tuning("LoRA", params.lora, 0.01, rank=1),
]


def explorer():
    tasks = {"sand": task(0), "snow": task(1)}
    return subset_explorer.SubsetExplorer(TARGET, tasks, MOVERS, steps=5)


def _shades(name, n_classes, n_per_class):
    """Class c is a grey level of its own, so that the nearest mean is always right."""
    labels = torch.arange(n_classes).repeat_interleave(n_per_class)
    levels = (labels * (200 // n_classes)).to(torch.uint8)
    images = levels[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    return Domain(name, images, labels, tuple(f"{name} {c}" for c in range(n_classes)))


def browser():
    return task_browser.TaskBrowser(
        {"shades": _shades("shades", 8, 25), "few": _shades("few", 6, 12)}
    )


def scene(name="a"):
    """A bent path; L has learned half of the way, C the whole flow."""
    normal = lambda *what: torch.randn(12, generator=stream(0, "drift field", *what))
    times = torch.linspace(0, 1, 6)
    s = times[:, None]
    thetas = normal("start") + s * normal(name) + s * s * normal(f"{name}2")
    kinds = {"L": interpolants.Linear, "C": interpolants.Cubic}
    paths = {kind: make(times, thetas) for kind, make in kinds.items()}
    half = (thetas[-1] - thetas[0]) / 2
    drifts = {
        "L": lambda t, theta: half + 0 * theta,
        "C": lambda t, theta: paths["C"].derivative(t[None])[0] + 0 * theta,
    }
    return drift_field.Scene(name=name, paths=paths, drifts=drifts)


def field():
    return drift_field.DriftField([scene("a"), scene("b")])


def paths():
    """Six recorded tasks of five knots, on the way of noise."""
    n = len(TARGET.theta0)
    steps = 0.05 * torch.randn(6, 5, n, generator=stream(0, "steps"))
    steps[:, 0] = 0
    data = Trajectories(
        TARGET.theta0 + steps.cumsum(1),
        torch.rand(6, 5, generator=stream(0, "losses")),
        pad([encode(TARGET, task(i).support) for i in range(6)]),
        torch.tensor([0, 1, 0, 1, 0, 1]),
        ("sand", "snow"),
        torch.zeros(6, dtype=torch.bool),
        torch.zeros(6, dtype=torch.bool),
        TARGET.model.num_features,
        belonging.described(TARGET),
    )
    return path_browser.PathBrowser(data, task, TARGET)


def noise(name):
    """Six classes of ten images, each class around a colour of its own."""
    generator = stream(0, name)
    colours = torch.randint(40, 200, (6, 3, 1, 1), generator=generator)
    grain = torch.randint(0, 56, (60, 3, 16, 16), generator=generator)
    images = (colours.repeat_interleave(10, 0) + grain).to(torch.uint8)
    labels = torch.arange(6).repeat_interleave(10)
    return Domain(name, images, labels, tuple(f"{name} {c}" for c in range(6)))


def bench(**changes):
    settings = {
        "target": TARGET,
        "nets": {"C": tiny_net(TARGET, seed=0), "L": tiny_net(TARGET, seed=1)},
        "domains": {name: lambda name=name: noise(name) for name in ("paper", "sand")},
        "draw": lambda domain, generator: episodes.sample(
            domain, n_way=3, n_shot=2, n_query=4, generator=generator
        ),
        "teacher": TeacherConfig(steps=4, views=1),
    }
    return Bench(**(settings | changes))


def stepped():
    return stepper.Stepper(bench())


# What makes a state, and other values of its controls, each of which moves plot and words.
EVERY = {
    "across_domains": (across, {}),
    "calculator": (
        calculator.CalculatorState,
        {
            "backbone": "ViT-B/16", "size": 128, "n_images": 100, "rival": "bias-tuning",
            "look": "100, class means pushed", "recorded": 704, "steps": 20, "n_tasks": 10,
        },
    ),
    "drift_field": (field, {"moment": 9, "along": "own roll-out", "network": "C", "scene": "b"}),
    "flow_sampler": (sampler, {"knot": 10, "steps": 5, "method": "adaptive", "seed": 3}),
    "gradient_flow": (gradient_flow, {"step_size": 0.2, "method": "heun"}),
    "head_comparison": (
        compared, {"task": 2, "given": "another task's", "n": 7, "top": 2, "seed": 1},
    ),
    "interpolant": (
        interpolated, {"pieces": 3, "follow": 8, "time": 5, "moment": 9, "kind": "linear"},
    ),
    "network_map": (mapped, {"chosen": 5, "plane": "novelty", "colour": "kind"}),
    "network_walk": (
        walk_by_code, {"second": 2, "alpha": 0.5, "way": "aligned", "first": 1},
    ),
    "path_browser": (paths, {"task": 3, "knot": 2, "plane": "of this path"}),
    "stepper": (stepped, {"net": "L", "method": "heun", "steps": 4, "length": 1.5, "number": 2}),
    "subset_explorer": (explorer, {}),
    "support_picker": (picker, {"shown": "fog", "n_shot": 2, "order": support_picker.TURNED}),
    "task_browser": (browser, {"n_way": 6, "n_shot": 3, "rule": task_browser.VARIABLE}),
    "through_time": (tuned, {"stop": 0.8}),
}  # fmt: skip
