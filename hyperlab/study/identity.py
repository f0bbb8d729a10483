"""Which method made a row: a mark that changes with everything that could change its numbers."""

import dataclasses
import zlib
from collections.abc import Mapping

from torch import Tensor, nn

from ..hyperflow.adapt import Method
from ..hyperflow.collect import weights_fingerprint
from ..models.targets import Target


def mark(target: Target, method: Method) -> str:
    """Eight hex digits of a backbone and a method: its networks, tensors and settings."""
    return f"{_crc(method, zlib.crc32(weights_fingerprint(target).encode())):08x}"


def _crc(thing: object, crc: int) -> int:
    if isinstance(thing, Tensor):
        return zlib.crc32(thing.detach().cpu().contiguous().numpy().tobytes(), crc)
    if isinstance(thing, nn.Module):
        return _crc(thing.state_dict(), crc)
    if isinstance(thing, Mapping):
        for key in sorted(thing):
            crc = _crc(thing[key], zlib.crc32(key.encode(), crc))
        return crc
    if dataclasses.is_dataclass(thing):
        return _crc(
            {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}, crc
        )
    said = thing.__qualname__ if callable(thing) else repr(thing)
    return zlib.crc32(said.encode(), crc)
