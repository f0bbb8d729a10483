"""Zoos on disk: a store that is filled group by group, and one small file to ship."""

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from .. import __version__, checkpoint
from ..base import (
    PRETRAINED,
    ArtifactError,
    ConfigError,
    DataMissingError,
    Progress,
    choose,
    default_device,
    expanded,
    silent,
    stream,
    tell,
)
from ..checkpoint import Checkpoint
from ..executor import Executor
from ..models import backbones
from ..models.backbones import NormNetwork
from ..models.cnn import ARCHITECTURES, Architecture
from ..models.inputs import Inputs
from ..store import Column, Store, whole_address
from ..tasks import domains
from ..tasks.catalogue import CATALOGUE
from . import recipes
from .recipes import Recipe, Splits
from .zoo import SCORES, Zoo, ZooConfig, train

KIND = "zoo"
INSIDE = "host."  # stands in a tail's file before the names of the frozen network's tensors
SHIPPED = MappingProxyType(
    {n: PRETRAINED / f"zoo_{n}.safetensors" for n in ("digits", "glyphs", "objects")}
)
COLUMNS = MappingProxyType(
    {
        "w": Column(("network", "epoch", "param"), "f4"),
        **{name: Column(("network", "epoch"), "f4") for name in SCORES},
        "seed": Column(("network",), "i4"),
        "diverged": Column(("network",), "?"),
    }
)


class ZooStore(Store):
    """A zoo on disk; a batch of rows is one group of networks."""

    columns = COLUMNS
    kind = "zoo"
    script = "python data_scripts/train_zoo.py"

    @property
    def n_diverged(self) -> int:
        """Networks that diverged, among those that are there."""
        return int(self.group["diverged"][:].sum())

    def read(self, *, progress: Progress = silent) -> Zoo:
        """All networks that are there and did not diverge, in memory."""
        if not (there := self.there):
            raise ArtifactError(f"{self.path} holds no network yet; run: {self.script}")
        groups = [self.batch(b) for b in progress(there, total=len(there), desc="reading")]
        columns = {n: np.concatenate([g[n] for g in groups]) for n in COLUMNS}
        keep = ~columns["diverged"]
        arrays = {n: torch.from_numpy(columns[n][keep]) for n in ("w", *SCORES)}
        about = self.group.attrs
        return Zoo(
            architecture=_architecture(about["network"]),
            epochs=tuple(about["epochs"]),
            seeds=tuple(columns["seed"][keep].tolist()),
            dataset=about["dataset"],
            checksums=dict(about.get("checksums", {})),
            **arrays,
        )


def train_zoo(
    path: Path | str,
    config: ZooConfig,
    *,
    executor: Executor = Executor(),  # noqa: B008 (frozen)
    root: Path | str | None = None,
    device: torch.device | str = "cpu",
    progress: Progress = silent,
) -> ZooStore:
    """Train the networks of a zoo into the store at `path`, or those that it still lacks.

    Damaged groups count as missing. Several runs may fill one store.

    Args:
        executor: who does it; the numbers are the same.
        device: where; the workers of a cluster use their own.

    Raises:
        DataMissingError: the images are not there.
        ArtifactError: the store was made with another configuration or other images, or cannot
            be written to; or workers died.
    """
    store = create(path, config, root=root)
    store.sweep()
    groups = executor.take(sorted({*store.missing, *store.damaged(progress=progress)}))
    job = partial(
        _fill, whole_address(path), root, None if executor.scheduler else str(device)
    )
    done = executor.each(job, groups, config)
    bar = progress(done, total=len(groups), desc=f"zoo ({config.recipe.dataset})")
    for diverged in accumulate(bar):
        tell(bar, diverged=diverged)
    return store


def create(
    path: Path | str, config: ZooConfig, *, root: Path | str | None = None
) -> ZooStore:
    """The empty store of a zoo, or the one that somebody has begun."""
    splits = _images(config, root)
    network = config.recipe.network(splits.n_classes)
    about = {
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "network": _described(network),
        "dataset": config.recipe.dataset,
        "epochs": list(config.kept),
        "origin": splits.origin,
        "checksums": dict(splits.checksums),
        "version": __version__,
    }
    sizes = {"network": config.n_networks, "epoch": len(config.kept)}
    sizes["param"] = network.n_params
    return ZooStore.create(path, sizes, batch=config.group, about=about)


def _images(config: ZooConfig, root: Path | str | None) -> Splits:
    """The images of a zoo, kept in memory while no file of theirs changes."""
    dataset = config.recipe.dataset
    files = domains.stamp(dataset, root) if dataset in CATALOGUE else ""
    return _kept(config.recipe, root, config.n_train, config.n_eval, files)


@lru_cache(maxsize=1)
def _kept(
    recipe: Recipe, root: Path | str | None, n_train: int, n_eval: int, _files: str
) -> Splits:
    return recipes.load(recipe, root=root).first(n_train, n_eval)


def _fill(
    path: str, root: Path | str | None, device: str | None, config: ZooConfig, group: int
) -> int:
    """Train and write one group; how many of its networks diverged."""
    splits = _images(config, root)
    store, seeds = ZooStore.open(path), config.seeds(group)
    store.require({"checksums": dict(splits.checksums)})
    arrays = train(config, splits.to(device or default_device()), seeds)
    diverged = ~arrays["w"].isfinite().all((1, 2))
    arrays |= {"seed": torch.tensor(seeds), "diverged": diverged}
    store.write(group, {name: array.numpy() for name, array in arrays.items()})
    return int(diverged.sum())


def _described(network: Architecture) -> dict[str, str | int]:
    names = ("name", "channels", "n_classes", "activation")
    return {name: getattr(network, name) for name in names}


def _architecture(spec: Mapping[str, str | int]) -> Architecture:
    """What `_described` describes."""
    options = {name: value for name, value in spec.items() if name != "name"}
    return choose(ARCHITECTURES, spec["name"])(**options)


def save_zoo(
    zoo: Zoo,
    path: Path | str,
    *,
    half: bool = False,
    trained: ZooConfig | None = None,
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """A zoo as one safetensors file; that of a tail has the whole network in it.

    Args:
        half: the weights in half precision.
        trained: as further networks are trained by a study.
        about: joins the metadata, e.g. the command that made it.
    """
    network, tensors = zoo.architecture, {n: getattr(zoo, n) for n in ("w", *SCORES)}
    if half:
        tensors["w"] = tensors["w"].half()
    tensors["seeds"] = torch.tensor(zoo.seeds)
    spec = {"dataset": zoo.dataset, "epochs": zoo.epochs}
    spec["checksums"] = zoo.checksums and dict(zoo.checksums)
    spec["trained"] = trained and dataclasses.asdict(trained)
    if isinstance(network, Architecture):
        spec["network"] = _described(network)
    elif isinstance(network, NormNetwork):
        names = ("name", "n_classes", "size", "levels")
        spec["host"] = {name: getattr(network, name) for name in names}
        spec["host"]["inputs"] = network.inputs and dataclasses.asdict(network.inputs)
        tensors |= {INSIDE + name: x for name, x in network.model.state_dict().items()}
    else:
        raise ConfigError(
            f"{network.name} is none of {sorted(ARCHITECTURES)} and no network of norm layers; "
            "save `w` of a module of your own, and keep its code"
        )
    checkpoint.save(path, KIND, tensors, spec, about)


def shipped(name: str) -> Zoo:
    """A zoo that comes with the package: a hundred seeds, in half precision.

    Of `digits` after 2 and 10 epochs, of the drawn `glyphs` and `objects` after 10.
    """
    return load_zoo(choose(SHIPPED, name))


def load_zoo(path: Path | str) -> Zoo:
    """A zoo from such a file, its weights in single precision."""
    return _read(path)[0]


def _read(path: Path | str) -> tuple[Zoo, ZooConfig | None]:
    """The zoo of a file, and how its networks were trained."""
    remedy = f"run: {ZooStore.script}, or for a tail: python data_scripts/train_tail.py"
    return checkpoint.load(path, KIND, _build, remedy)


def _build(file: Checkpoint) -> tuple[Zoo, ZooConfig | None]:
    spec, tensors = file
    zoo = Zoo(
        architecture=_norm_network(file)
        if "host" in spec
        else _architecture(spec["network"]),
        epochs=tuple(spec["epochs"]),
        seeds=tuple(tensors["seeds"].tolist()),
        dataset=spec["dataset"],
        checksums=spec["checksums"],
        **{name: tensors[name].float() for name in ("w", *SCORES)},
    )
    return zoo, _trained(spec["trained"])


def _norm_network(file: Checkpoint) -> NormNetwork:
    """The network of a tail, as it was."""
    spec, size = dict(file.spec["host"]), {"size": file.spec["host"]["size"]}
    blank = stream(0, "replaced at once")
    network = backbones.build_norm_network(
        spec["name"], spec["n_classes"], **size, generator=blank
    )
    inside = {n: x for n, x in file.tensors.items() if n.startswith(INSIDE)}
    network.model.load_state_dict({n.removeprefix(INSIDE): x for n, x in inside.items()})
    inputs = Inputs.of(spec["inputs"]) if spec["inputs"] else None
    return dataclasses.replace(network, inputs=inputs, levels=tuple(spec["levels"]))


def _trained(config: Mapping | None) -> ZooConfig | None:
    """Of a zoo's configuration what further networks are trained by."""
    if config is None:
        return None
    counts = {name: config[name] for name in ("batch", "n_train")}
    return ZooConfig(recipe=Recipe(**config["recipe"]), **counts)


def find_zoo(name: Path | str) -> Zoo:
    """The zoo that `open_zoo` opens."""
    return open_zoo(name)[0]


def open_zoo(name: Path | str) -> tuple[Zoo, ZooConfig | None]:
    """A zoo and how its networks were trained; None of a tail, and where a file does not say it.

    Args:
        name: of a zoo that comes with the package, or the path of a store or file.
    """
    path = str(expanded(str(SHIPPED.get(str(name), name))))
    if "://" not in path and not Path(path).exists():
        raise DataMissingError(
            f"no zoo at {path}; shipped are {', '.join(sorted(SHIPPED))}; else run: "
            f"{ZooStore.script}"
        )
    if Path(path).is_file():
        return _read(path)
    store = ZooStore.open(path)
    return store.read(), _trained(store.group.attrs["config"])


def require_training(trained: ZooConfig | None, name: Path | str) -> None:
    """Raise ConfigError unless it is known how the networks of a zoo were trained."""
    if trained is None:
        raise ConfigError(
            f"{name} does not say how its networks were trained; take a store, or a file that "
            "save_zoo wrote with trained="
        )
