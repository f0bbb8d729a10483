"""Networks as files: one safetensors file each, with what it takes to build them again.

The metadata are `kind`, what the file holds ("drift network"), `spec`, its sizes and settings as
JSON, and beside these the words of `about`, how it came to be.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .base import ArtifactError, DataMissingError, expanded, whole_file

T = TypeVar("T")
Spec = Mapping[str, Any]  # as JSON has it


class Checkpoint(NamedTuple):
    """What a file holds."""

    spec: Spec
    tensors: dict[str, Tensor]


def save(
    path: Path | str,
    kind: str,
    network: nn.Module | Mapping[str, Tensor],
    spec: Spec,
    about: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """A network, or its tensors, as one file that is whole or not there."""
    state = network.state_dict() if isinstance(network, nn.Module) else network
    meta = {**about, "kind": kind, "spec": json.dumps(spec)}
    with whole_file(path) as draft:
        save_file({name: x.contiguous() for name, x in state.items()}, draft, meta)


def load(path: Path | str, kind: str, make: Callable[[Checkpoint], T], remedy: str) -> T:
    """What `make` builds of such a file.

    Args:
        remedy: how a file of this kind is come by.

    Raises:
        DataMissingError: no such file.
        ArtifactError: the file is damaged or of another kind, or `make` cannot build of it.
    """
    if not (path := expanded(Path(path))).is_file():
        raise DataMissingError(f"no {kind} at {path}; {remedy}")
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            if meta.get("kind") != kind:
                raise ValueError(f"it is a {meta.get('kind', 'file that names no kind')}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return make(Checkpoint(json.loads(meta["spec"]), tensors))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        why = shorten(str(error), 400)  # torch's go over many lines
        raise ArtifactError(f"{path} is no whole {kind} ({why}); {remedy}") from error


def about(path: Path | str) -> dict[str, str]:
    """How a network came to be, as `save` was told."""
    with safe_open(expanded(Path(path)), "pt") as file:
        meta = file.metadata() or {}
    return {name: words for name, words in meta.items() if name not in ("kind", "spec")}


def halved(network: nn.Module) -> dict[str, Tensor]:
    """The state of a network with its matrices in half precision."""
    return {n: x.half() if x.ndim > 1 else x for n, x in network.state_dict().items()}
