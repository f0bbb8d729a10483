"""Reading the published model zoos: one folder a network, one checkpoint an epoch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import ArtifactError, DataMissingError, Progress, expanded, silent
from ..models.cnn import ARCHITECTURES, Architecture
from .zoo import Zoo, ZooConfig
from .zoo_store import save_zoo

# Places of the convolutions and linear layers in the published networks' `module_list`.
PLACES = MappingProxyType({"cnn_small": (0, 3, 6, 9, 11), "cnn_medium": (0, 4, 8, 13, 16)})
RESULTS = (
    "test_acc",
    "validation_acc",
    "validation_loss",
)  # in the order of a zoo's scores


def read_zoo(
    folder: Path | str,
    *,
    epochs: Sequence[int],
    dataset: str,
    progress: Progress = silent,
) -> Zoo:
    """The networks of an unpacked published zoo at these epochs; the activation is read too.

    What the zoo does not tell (often all of validation) is NaN. `seeds` are the networks' own,
    else their numbers.

    Args:
        folder: of folders, one a network: `params.json`, `result.json` and state dicts
            `checkpoint_000025/checkpoints`.

    Raises:
        DataMissingError: no network there.
        ArtifactError: a file is damaged, lacks, is of another network than the first, or a
            pickle of more than tensors.

    Source: Schuerholt et al. 2022, Model Zoos (arXiv:2209.14764), their raw archives.
    """
    trials = sorted(p.parent for p in expanded(Path(folder)).glob("*/params.json"))
    if not trials:
        raise DataMissingError(f"no networks in {folder}; unpack a raw zoo there")
    params = [_params(trial / "params.json") for trial in trials]
    network, rows = None, []
    for trial in progress(trials, total=len(trials), desc=f"reading {dataset}"):
        for epoch in epochs:
            path = trial / f"checkpoint_{epoch:06d}" / "checkpoints"
            state = _state(path)
            network = network or _network(path, state, params)
            rows.append(_row(path, state, network))
    w = torch.stack(rows).unflatten(0, (len(trials), len(epochs)))
    scores = torch.stack([_results(trial, epochs) for trial in trials]).unbind(2)
    return Zoo(network, w, tuple(epochs), _seeds(params), *scores, dataset)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong while a file is read, as an error that names the file."""
    try:
        yield
    except UnpicklingError as error:
        raise ArtifactError(
            f"{path} is no pickle of tensors alone and is refused; read the raw zoo, "
            "whose checkpoints are state dicts"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); unpack it again") from error


def _params(path: Path) -> dict[str, object]:
    with _readable(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def _seeds(params: Sequence[Mapping[str, object]]) -> tuple[int, ...]:
    seeds = [one.get("seed") for one in params]
    own = all(isinstance(s, int) for s in seeds) and len(set(seeds)) == len(seeds)
    return tuple(seeds) if own else tuple(range(len(seeds)))


def _state(path: Path) -> dict[str, Tensor]:
    """A state dict; nothing but tensors is ever unpickled."""
    with _readable(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(state)


def _network(
    path: Path, state: Mapping[str, Tensor], params: Sequence[Mapping[str, object]]
) -> Architecture:
    """Which of the two architectures a state dict is of; the activation is all networks'."""
    activations = {one.get("model::nlin") for one in params}
    if len(activations) > 1:
        raise ArtifactError(
            f"{path.parents[2]} mixes the activations {sorted(map(str, activations))}; "
            "separate them"
        )
    for name, places in PLACES.items():
        weights = [state.get(f"module_list.{i}.weight") for i in places]
        if all(x is not None for x in weights):
            sizes = {"channels": weights[0].shape[1], "n_classes": len(weights[-1])}
            try:
                return ARCHITECTURES[name](**sizes, activation=str(*activations))
            except ValueError as error:  # an unknown activation
                raise ArtifactError(f"{path.parents[1]}: model::nlin: {error}") from error
    raise ArtifactError(f"{path} is of no known network; its parts are {sorted(state)}")


def _row(
    path: Path, state: Mapping[str, Tensor], network: Architecture
) -> Float[Tensor, " params"]:
    places = PLACES[network.name]
    names = [f"module_list.{i}.{part}" for i in places for part in ("weight", "bias")]
    parts = dict(zip(network.shapes, map(state.get, names), strict=True))
    shapes = {name: x is not None and tuple(x.shape) for name, x in parts.items()}
    if shapes != network.shapes or len(state) != len(names):
        raise ArtifactError(
            f"{path} is of another network than the first, a {network.name} with "
            f"{network.n_params} weights: a zoo has one architecture, separate them"
        )
    return network.flatten(parts).float()


def _results(trial: Path, epochs: Sequence[int]) -> Float[Tensor, " epochs 3"]:
    """Test accuracy, validation accuracy and validation loss of each epoch."""
    path = trial / "result.json"
    with _readable(path):
        lines = path.read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines if line.strip()]
        at = {one["training_iteration"]: one for one in results}
    nan = float("nan")
    return torch.tensor(
        [[at.get(e, {}).get(name, nan) for name in RESULTS] for e in epochs]
    )


def convert(
    folder: Path | str,
    path: Path | str,
    epochs: Sequence[int],
    dataset: str,
    about: Mapping[str, str],
    progress: Progress = silent,
) -> None:
    """A published zoo as one file, which `zoo_store.open_zoo` and with it every study opens."""
    zoo = read_zoo(folder, epochs=epochs, dataset=dataset, progress=progress)
    save_zoo(zoo, path, trained=ZooConfig.at("paper", dataset), about=about)
