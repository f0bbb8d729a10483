"""The cost claim as a table: every part of adapting to one task, counted and measured.

Operations and bytes are counted without being done where the backbone lies on the device "meta";
seconds and the peak of memory are measured in a fresh process each.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch

from .. import checkpoint, params
from ..base import PRETRAINED, T, choose, stream
from ..hyperflow.adapt import FewerImages, FineTuning, LearnedFlow, Method, classifier
from ..hyperflow.context import assemble
from ..hyperflow.jacobian_flow import JacobianFlow
from ..hyperflow.teacher import TeacherConfig
from ..models import targets
from ..models.targets import Target, prototypes
from ..tasks.episodes import LabelledImages
from . import timing
from .budget import BACKBONES, drift_shape
from .cost import Count, count

STEPS = 50  # of fine-tuning: the paper's
VIEWS = 2  # passes over the support set a step: P>M>F's
MODELS = {"vit_micro": ("vit_micro", 32), "ViT-S/16": ("vit_small_patch16_224", 224)}
TUNED = {"full fine-tuning": "everything", "bias-tuning": "qkv_biases", "LoRA": "lora"}
WHOLE, SPARE = "Jacobian flow", "Jacobian flow, spare"
LOOKS = {  # how Jacobian flow looks at the support set
    WHOLE: {"max_images": None, "chunk": None, "push": False},
    SPARE: {"max_images": 100, "chunk": 32, "push": True},
}
ENOUGH_S = 10.0  # a timed call is repeated for so long, or `repeats` times if that is less
RECORDING_MIN = 14.0  # 704 tasks, two processes: results/README.md; no card has it
CARDS = {
    "pre-training the backbone": "vit_micro",
    "learned Jacobian": "jacobian_flow",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row of the table: a method on a backbone with a support set."""

    backbone: str  # of MODELS
    method: str  # of TUNED or LOOKS
    n_way: int
    n_shot: int
    device: str = "cpu"
    repeats: int = 5  # timed calls; the median counts

    @property
    def n_images(self) -> int:
        return self.n_way * self.n_shot

    def target(self) -> Target:
        """The backbone with random weights, enough for a cost, with what the method moves."""
        name, _ = choose(MODELS, self.backbone)
        return self.adaptation().view(targets.load(name, pretrained=False))

    def support(self) -> LabelledImages:
        """Noise: what an image shows changes no cost."""
        size = MODELS[self.backbone][1]
        images = torch.rand(self.n_images, 3, size, size, generator=stream(0, "audit"))
        labels = torch.arange(self.n_way).repeat_interleave(self.n_shot)
        return LabelledImages(images, labels, self.n_way)

    def adaptation(self, steps: int = 1) -> Method:
        """The method; fine-tuning with `steps` gradient steps, a drift network untrained."""
        if self.method in TUNED:
            what = TUNED[self.method]
            return FineTuning(
                name=self.method,
                match=getattr(params, what),
                config=TeacherConfig(steps=steps, views=VIEWS),
                rank=4 if what == "lora" else 0,
            )
        look = choose(LOOKS, self.method)
        net = JacobianFlow(drift_shape(BACKBONES[self.backbone])).eval().to(self.device)
        flow = LearnedFlow(net=net, chunk=look["chunk"], push=look["push"])
        most = look["max_images"] or self.n_images  # all of them
        return FewerImages(method=flow, name=self.method, max_images=most)


@dataclass(frozen=True)
class Measured:
    """Seconds and bytes of one call in a process of its own."""

    seconds: float
    peak_bytes: int  # beyond what was there before the call: weights, images, libraries
    repeats: int


def counted(job: Job) -> dict[str, Count]:
    """Part -> what it needs; fine-tuning has one part, Jacobian flow three."""
    if job.method in TUNED:
        return {"gradient steps": steps_of(job, job.target(), job.support())}
    shown = job.adaptation()
    return parts(shown.method, job.target().to("meta"), shown.shown(job.support()))


def steps_of(job: Job, target: Target, support: LabelledImages, to: str = "meta") -> Count:
    """All gradient steps: `STEPS` times the second of two; the last loss is left out."""
    target = target.to(to)
    one, two = (
        count(lambda k=k: job.adaptation(k)(target, support), target.model) for k in (1, 2)
    )
    return replace(two, flops=STEPS * (two.flops - one.flops))


def parts(flow: LearnedFlow, target: Target, support: LabelledImages) -> dict[str, Count]:
    """The flow's parts: one look at the support set, the drift, and the class means at the end.

    The backbone may lie on the device "meta"; the drift runs on features made up.
    """
    net, model, n = flow.net, target.model, len(support.labels)
    images = support.images.to(target.device).split(flow.chunk or n)
    depth, dim = len(model.blocks), net.shape.n_residual
    blocks = torch.rand(n, depth, 2, dim, generator=stream(0, "blocks"))
    last = torch.rand(n, dim, generator=stream(0, "last"))
    labels, theta0 = support.labels, net.theta0.cpu()
    context = assemble(blocks, last, labels)

    def means() -> torch.Tensor:
        if flow.push:
            return prototypes(net.features(context, theta0), labels, support.n_way)
        with torch.no_grad():
            return target.centres(target.theta0, support, chunk=flow.chunk)

    calls = {
        "context": lambda: [target.block_features(part) for part in images],
        "drift": lambda: flow.follow(theta0, assemble(blocks, last, labels)),
        "class means": means,
    }
    return {name: count(call, model) for name, call in calls.items()}


def apart(
    function: Callable[[Job], T], jobs: Sequence[Job], *, workers: int = 1
) -> Iterator[T]:
    """function(job) for every job, each in a fresh process; on a CPU a fork of this one.

    A fork starts with this process's memory, and its high-water mark begins there.
    """
    cpu = all(job.device == "cpu" for job in jobs)
    start = "fork" if cpu and sys.platform == "linux" else "spawn"
    with get_context(start).Pool(workers, maxtasksperchild=1) as pool:
        yield from pool.imap(function, jobs, chunksize=1)


def measure(job: Job) -> Measured:
    """Seconds and peak memory of the job, with one gradient step if it is fine-tuning.

    On a CPU the seconds are the processor's, on one thread, so that a busy machine matters little.
    Call it `apart`: the high-water mark of memory is the whole process's.
    """
    torch.set_num_threads(1)
    method, support = job.adaptation(), job.support()
    target = job.target().to(job.device)
    call = lambda: classifier(method, target, support)  # noqa: E731
    if isinstance(method, FineTuning):
        call = lambda: method(target, support)  # noqa: E731
    if job.device == "cpu":
        before = _high_water()
        seconds = [_processor_s(call)]
        peak = _high_water() - before
        repeats = max(1, min(job.repeats, int(ENOUGH_S / seconds[0])))
        seconds = [_processor_s(call) for _ in range(repeats)] if repeats > 1 else seconds
        return Measured(statistics.median(seconds), peak, repeats)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    peak = torch.cuda.max_memory_allocated() - before
    return Measured(timing.median_s(call, repeats=job.repeats), peak, job.repeats)


def _processor_s(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _high_water() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def whole(found: Mapping[str, Count]) -> Count:
    """All parts, one after the other."""
    first, *others = found.values()
    for other in others:
        first = first + other
    return first


def offline_minutes() -> dict[str, float]:
    """Minutes on two processor cores, networks' as on their cards; `vit_micro`, 704 tasks."""
    files = {what: PRETRAINED / f"{name}.safetensors" for what, name in CARDS.items()}
    found = {
        what: float(checkpoint.about(file)["seconds"]) / 60 for what, file in files.items()
    }
    return {"recording trajectories": RECORDING_MIN, **found}


def before_any_task() -> float:
    """Minutes of the offline work that fine-tuning does not need: all but the backbone's."""
    return sum(m for what, m in offline_minutes().items() if "backbone" not in what)
