"""What a result depends on, as short checksums: read back where all agree, else made anew.

Whoever keeps a result keeps the checksum of each part that it depends on under the part's name
(backbone, method, images, labels ...), so that `base.differences` can name what differs later.
"""

import dataclasses
import functools
import os
import types
import zlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (str, bytes, int, float, bool, type(None))


def checksum(*things: object) -> str:
    """Eight hex digits that change with any number, name or setting inside these things.

    Of a network: its class, parameters, buffers (those that no file keeps, too) and settings; of
    a function: its code and what it holds; of a file or folder: names, sizes and times of change.
    """
    return f"{_crc(things, 0):08x}"


def files(path: Path | str) -> list[tuple[str, int, int, int]]:
    """Of a file, or of all in a folder: name, size in bytes, times of change and of its entry."""
    path, seen, found = Path(path), set(), []
    for folder, below, names in os.walk(path, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link into a folder above it
            below.clear()
            continue
        seen.add(real)
        found += [Path(folder, name) for name in names]
    stats = [(p, p.stat()) for p in found or [path] if p.is_file()]
    home = path if path.is_dir() else path.parent
    times = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for _, s in stats]
    return sorted(
        (str(p.relative_to(home)), *t) for (p, _), t in zip(stats, times, strict=True)
    )


def settings(network: nn.Module) -> dict[str, object]:
    """The classes of a network's modules, and what they keep beside tensors."""
    return {
        f"{name}.{key}": value
        for name, module in network.named_modules()
        for key, value in {"": type(module).__qualname__, **vars(module)}.items()
        if not key.startswith("_") and key != "training" and _is_setting(value)
    }


def _crc(thing: object, crc: int) -> int:
    if isinstance(thing, PLAIN):
        return zlib.crc32(repr(thing).encode(), crc)
    if isinstance(thing, Tensor | np.ndarray | np.generic):
        return _of_numbers(thing, crc)
    if isinstance(thing, Path):
        return _crc([row[:3] for row in files(thing)], crc)
    if isinstance(thing, Mapping):
        return _crc([(str(k), thing[k]) for k in sorted(thing, key=str)], crc)
    if isinstance(thing, Set):
        return _crc(sorted(checksum(x) for x in thing), crc)
    if isinstance(thing, Sequence):
        crc = zlib.crc32(str(len(thing)).encode(), crc)
        return functools.reduce(lambda so_far, x: _crc(x, so_far), thing, crc)
    return _of_object(thing, zlib.crc32(type(thing).__qualname__.encode(), crc))


def _of_numbers(thing: Tensor | np.ndarray | np.generic, crc: int) -> int:
    crc = zlib.crc32(f"{thing.dtype} {tuple(thing.shape)}".encode(), crc)
    if isinstance(thing, Tensor):
        if thing.is_meta:
            return crc
        thing = thing.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return zlib.crc32(np.ascontiguousarray(thing).reshape(-1).view(np.uint8), crc)


def _of_object(thing: object, crc: int) -> int:
    if isinstance(thing, functools.partial):
        return _crc([thing.func, thing.args, thing.keywords], crc)
    if isinstance(thing, types.MethodType):
        return _crc([thing.__func__, thing.__self__], crc)
    if isinstance(thing, types.FunctionType):
        code, cells = thing.__code__, thing.__closure__ or ()
        consts = [x for x in code.co_consts if isinstance(x, PLAIN)]
        held = [cell.cell_contents for cell in cells]
        said = [thing.__qualname__, code.co_names, consts, thing.__defaults__, held]
        return _crc(said, zlib.crc32(code.co_code, crc))
    if isinstance(thing, nn.Module):
        own = {**dict(thing.named_parameters()), **dict(thing.named_buffers())}
        return _crc([own, settings(thing)], crc)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        return _crc(
            {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}, crc
        )
    name = getattr(thing, "__qualname__", None)
    return _crc(name or getattr(thing, "__dict__", None) or repr(thing), crc)


def _is_setting(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_setting, value))
    return isinstance(value, PLAIN) or dataclasses.is_dataclass(value)
