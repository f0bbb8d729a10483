"""Every method of adaptation by its name: what the tables of the course compare."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .. import params
from ..base import ArtifactError, ConfigError, choose
from ..hyperflow import controls, drift, jacobian_flow
from ..hyperflow.adapt import FineTuning, LearnedFlow, Method, NoAdaptation
from ..hyperflow.drift import Drift
from ..hyperflow.jacobian_flow import JacobianFlow
from ..hyperflow.teacher import TeacherConfig
from ..hyperflow.trajectories import Trajectories
from ..tasks import protocols

BASELINE = "no adaptation"
TEACHER = "bias-tuning"
OWN = "own domain's mean"
CONTROLS = (
    "mean displacement",
    OWN,
    "nearest domain's mean",
    "wrong support",
    "random direction",
)


def _gradient(
    name: str, match: params.Predicate, rank: int = 0, **settings: object
) -> FineTuning:
    return FineTuning(name=name, match=match, rank=rank, config=TeacherConfig(**settings))


# Twenty steps each; rule and rate chosen on validation domains: results/tuning.md, tuning_adam.md.
GRADIENT = {
    method.name: method
    for method in (
        _gradient("head-only", params.head, lr=0.01, optimiser="adam"),
        _gradient(TEACHER, params.qkv_biases),
        _gradient("qv biases", params.qv_biases),
        _gradient("all biases", params.all_biases, lr=0.01, optimiser="adam"),
        _gradient("norms", params.norms, lr=0.01, optimiser="adam"),
        _gradient("LoRA", params.lora, rank=4, lr=0.01, optimiser="adam"),
        _gradient("full fine-tuning", params.everything, lr=0.0003, optimiser="adam"),
    )
}
SETTING = re.compile(r"(?:(.+?) )?(\d+)x([\d.]+)( adam)?")


def tuning(setting: str) -> FineTuning:
    """A gradient method with other steps: "norms 20x3", "LoRA 20x0.01 adam", "40x8" (biases).

    Raises:
        ConfigError: the setting does not read like that, or names no gradient method.
    """
    if not (found := SETTING.fullmatch(setting.strip())):
        raise ConfigError(
            f"a setting is steps x rate, e.g. 20x10 or LoRA 20x0.01 adam; got {setting!r}"
        )
    name, steps, lr, adam = found.groups()
    if (name := name or TEACHER) not in GRADIENT:
        raise ConfigError(f"no gradient method {name!r}; have {list(GRADIENT)}")
    rule = {"optimiser": "adam" if adam else "sgd"}
    config = TeacherConfig(steps=int(steps), lr=float(lr), **rule)
    words = f"{name}, {steps} {'Adam ' if adam else ''}steps of {float(lr):g}"
    return replace(GRADIENT[name], name=words, config=config)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What the methods without gradients are made of.

    Args:
        nets: name -> drift network, e.g. {"HyperFlow-C": ...}; the last lends itself to the
            controls, and, if it is a Jacobian flow, to rows without parts of it.
        data: the recorded trajectories, for the mean displacements.
        own: of each test domain the mean displacement of other tasks, see `experiments.own_means`.
        own_of: the target of these, see `models.belonging.described`; "": not known.
        length: factor on the drift, chosen on validation domains.
    """

    nets: Mapping[str, Drift] = field(default_factory=dict)
    data: Trajectories | None = None
    own: Mapping[str, Tensor] = field(default_factory=dict)
    own_of: str = ""
    length: float = 1.0

    def methods(self) -> dict[str, Method]:
        """Every method that can be made of what is here, by name."""
        flows = {
            name: LearnedFlow(net=net, name=name, length=self.length)
            for name, net in self.nets.items()
        }
        all_methods: list[Method] = list(flows.values())
        if self.data is not None:
            mean = self.data.displacement.mean(0)
            all_methods.append(controls.Displacement(delta=mean, made_for=self.data.target))
            if len(self.data.domain.unique()) > 1:
                all_methods.append(controls.NearestDomain.fit(self.data))
        if self.own:
            all_methods.append(controls.OwnDomain(deltas=self.own, made_for=self.own_of))
        if flows:
            last = list(flows.values())[-1]
            size = last.net.shape.token_size
            if isinstance(net := last.net, JacobianFlow):
                off = ["feedback"] + ["correction"] * (net.correction is not None)
                parts = {f"{last.name} without {part}": net.without(part) for part in off}
                all_methods += [
                    replace(last, net=n, name=name) for name, n in parts.items()
                ]
            all_methods += [
                controls.WrongSupport(method=last),
                controls.RandomDirection(method=last, token_size=size),
            ]
        return {method.name: method for method in all_methods}

    def lends(self, names: Sequence[str]) -> bool:
        """Whether a method of these names is made of a network."""
        return not {*names}.isdisjoint(replace(self, data=None, own={}).methods())


def named(names: Sequence[str], learned: Learned | None = None) -> list[Method]:
    """The methods of these names, in this order; all there are if there is no name.

    A gradient method with other steps is named by its setting, see `tuning`.

    Raises:
        ConfigError: an unknown name, or one that needs a network or trajectories that are not here.
    """
    by_name = learned.methods() if learned else {}
    have = {BASELINE: NoAdaptation(), **GRADIENT, **by_name}
    known = [name in have or SETTING.fullmatch(name) for name in names]
    if unknown := [name for name, ok in zip(names, known, strict=True) if not ok]:
        raise ConfigError(f"no method {unknown}; have {list(have)}")
    return [have.get(name) or tuning(name) for name in names or have]


def checked(names: Sequence[str], learned: Learned) -> tuple[str, ...]:
    """The names of a table's methods, all there are without one; refused before any work.

    Raises:
        ConfigError: the baseline lacks, a name stands twice, no method uses the trajectories that
            are given, or as in `named`.
    """
    recorded = learned.data is not None
    own = learned.own or ({OWN: torch.empty(0)} if recorded else {})  # made later, if named
    there = [method.name for method in named(names, replace(learned, own=own))]
    if names and BASELINE not in names:
        raise ConfigError(
            f"every gain is over {BASELINE!r}: name it too, beside {list(names)}"
        )
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"a method is compared once; named twice: {sorted(twice)}")
    if recorded and names and not {*names} & {*CONTROLS[:3]}:
        raise ConfigError(
            f"trajectories are given, for none of {list(names)}: leave them out"
        )
    return tuple(names or there)


def n_tasks(protocol: str) -> int:
    """How many episodes a domain a protocol asks for."""
    return choose(protocols.PROTOCOLS, protocol).n_tasks


def networks(pairs: Sequence[str], device: torch.device | str = "cpu") -> dict[str, Drift]:
    """("HyperFlow-L=linear", ...) -> name -> network: a shipped one or a file.

    Raises:
        ConfigError: a pair without a name, or a name that is another method's too.
    """
    if odd := [pair for pair in pairs if not pair.partition("=")[2]]:
        raise ConfigError(f"networks are name=file, e.g. HyperFlow-L=linear: {odd}")
    named_files = [pair.split("=", 1) for pair in pairs]
    names = [BASELINE, *GRADIENT, *CONTROLS, *(name for name, _ in named_files)]
    if taken := [name for name, _ in named_files if names.count(name) > 1]:
        raise ConfigError(f"networks need names of their own, {taken} are taken")
    return {name: network(file).to(device) for name, file in named_files}


def network(name: str) -> Drift:
    """A drift from a file, or a shipped one: "jacobian", or of `drift.SHIPPED` (HyperFlow)."""
    try:
        path = jacobian_flow.SHIPPED if name == "jacobian" else name
        return drift.load(name) if name in drift.SHIPPED else jacobian_flow.load(path)
    except ArtifactError:  # of another kind, which the other says better
        return drift.load(name)
