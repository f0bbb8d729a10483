"""What a result depends on, as short checksums: read back where all agree, else made anew.

Whoever keeps a result keeps the checksum of each part that it depends on under the part's name
(backbone, method, images, labels ...), so that `base.differences` can name what differs later.
"""

import dataclasses
import dis
import functools
import os
import sys
import types
import zlib
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (str, bytes, int, float, bool, type(None))
NUMBERS = (Tensor, np.ndarray, np.generic)
Known = dict[int, int]  # id of a thing -> its number, 0 while that is being found
CACHES = functools.cached_property, type(functools.cache(len))
WRAPPERS = functools.partial, *CACHES, types.MethodType, classmethod, property, staticmethod
WRAPPED = "func", "args", "keywords", "__func__", "__self__", "fget", "fset", "__wrapped__"


def checksum(*things: object) -> str:
    """Eight hex digits that change with any number, name or setting inside these things.

    Of a network: its class, parameters, buffers (those that no file keeps, too) and settings; of
    a function: its code, defaults and what it holds; of a file or folder: names, sizes and times
    of change. A reader's functions count with the globals that they read, a reader's classes with
    their functions; classes of this package and of installed ones by their names.
    """
    return f"{_crc(things, 0, {}):08x}"


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
    return sorted(
        (str(p.relative_to(home)), s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for p, s in stats
    )


def settings(network: nn.Module) -> dict[str, object]:
    """The classes of a network's modules, and what they keep beside tensors."""
    return {
        f"{name}.{key}": value
        for name, module in network.named_modules()
        for key, value in {"": type(module).__qualname__, **vars(module)}.items()
        if not key.startswith("_") and key != "training" and _is_setting(value)
    }


def _crc(thing: object, crc: int, known: Known) -> int:
    if isinstance(thing, PLAIN):
        return zlib.crc32(repr(thing).encode(), crc)
    if isinstance(thing, NUMBERS):
        return _of_numbers(thing, crc)
    if isinstance(thing, Path):
        return _crc([row[:3] for row in files(thing)], crc, known)
    if isinstance(thing, Mapping):
        return _crc([(str(k), thing[k]) for k in sorted(thing, key=str)], crc, known)
    if isinstance(thing, Set):
        marks = sorted(f"{_crc((x,), 0, dict(known)):08x}" for x in thing)
        return _crc(marks, crc, known)
    if isinstance(thing, Sequence):
        crc = zlib.crc32(str(len(thing)).encode(), crc)
        return functools.reduce(lambda so_far, x: _crc(x, so_far, known), thing, crc)
    return _once(thing, zlib.crc32(type(thing).__qualname__.encode(), crc), known)


def _once(thing: object, crc: int, known: Known) -> int:
    """What is in a circle with itself counts there by its kind alone."""
    if isinstance(thing, types.FunctionType) or _of_reader(thing):
        if id(thing) not in known:
            known[id(thing)] = 0
            known[id(thing)] = _crc(_code_of(thing), 0, known)
        return zlib.crc32(b"%d" % known[id(thing)], crc)
    if id(thing) in known:
        return crc
    known[id(thing)] = 0
    crc = _of_object(thing, crc, known)
    del known[id(thing)]
    return crc


def _of_numbers(thing: Tensor | np.ndarray | np.generic, crc: int) -> int:
    crc = zlib.crc32(f"{thing.dtype} {tuple(thing.shape)}".encode(), crc)
    if isinstance(thing, Tensor):
        if thing.is_meta:
            return crc
        thing = thing.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return zlib.crc32(np.ascontiguousarray(thing).reshape(-1).view(np.uint8), crc)


def _of_object(thing: object, crc: int, known: Known) -> int:
    if isinstance(thing, WRAPPERS):
        return _crc([getattr(thing, name, None) for name in WRAPPED], crc, known)
    if isinstance(thing, types.CodeType):
        parts = [thing.co_code, thing.co_names, thing.co_consts, thing.co_exceptiontable]
        return _crc(parts, crc, known)
    if _of_reader(type(thing)):
        crc = _crc(type(thing), crc, known)
    if isinstance(thing, nn.Module):
        own = {**dict(thing.named_parameters()), **dict(thing.named_buffers())}
        kinds = dict.fromkeys(type(m) for m in thing.modules() if _of_reader(type(m)))
        return _crc([own, settings(thing), *kinds], crc, known)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}
        return _crc(fields, crc, known)
    if _of_reader(type(thing)):
        return _crc(object.__getstate__(thing), crc, known)
    name = getattr(thing, "__qualname__", None)
    return _crc(name or getattr(thing, "__dict__", None) or repr(thing), crc, known)


def _of_reader(thing: object) -> bool:
    """Whether it is a function or class that is neither of this package nor installed."""
    if not isinstance(thing, types.FunctionType | type):
        return False
    top = (thing.__module__ or "__main__").partition(".")[0]
    file = Path(getattr(sys.modules.get(top), "__file__", None) or "")
    installed = {"site-packages", "dist-packages"} & {*file.parts}
    ours = (__name__.partition(".")[0], *sys.stdlib_module_names)
    return top == "__main__" or not (installed or top in ours)


def _code_of(thing: types.FunctionType | type) -> list[object]:
    """What counts of a function, or of a class with the reader's classes that it inherits from."""
    if isinstance(thing, type):
        bodies = [vars(kind) for kind in thing.__mro__ if _of_reader(kind)]
        return [thing.__qualname__, *map(_members, bodies)]
    held = [cell.cell_contents for cell in thing.__closure__ or ()]
    defaults = thing.__defaults__, thing.__kwdefaults__
    read = _read(thing.__code__, thing.__globals__) if _of_reader(thing) else {}
    return [thing.__qualname__, thing.__code__, defaults, held, read]


def _members(body: Mapping[str, object]) -> dict[str, object]:
    """The functions and values of a class; as in `settings` no value called `_...`."""
    functions = (types.FunctionType, *WRAPPERS)
    own = [n for n, x in body.items() if isinstance(x, functions) or not n.startswith("_")]
    return {name: _countable(body[name]) for name in own}


def _read(code: types.CodeType, scope: Mapping[str, object]) -> dict[str, object]:
    """The globals that a function and those inside it read; of modules the names alone."""
    steps = dis.get_instructions(code)
    names = {x.argval for x in steps if x.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    read = {name: _countable(scope[name]) for name in names & scope.keys()}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            read |= _read(inner, scope)
    return read


def _countable(thing: object) -> object:
    """A thing with numbers or code of the reader's; of another its name."""
    kinds = (*PLAIN, *NUMBERS, *WRAPPERS, Mapping, Sequence, Set, nn.Module)
    counts = isinstance(thing, kinds) or dataclasses.is_dataclass(thing)
    if counts or _of_reader(thing) or _of_reader(type(thing)):
        return thing
    if isinstance(thing, Path):
        return str(thing)
    return getattr(thing, "__qualname__", type(thing).__qualname__)


def _is_setting(value: object) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_setting, value))
    return isinstance(value, PLAIN) or dataclasses.is_dataclass(value)
