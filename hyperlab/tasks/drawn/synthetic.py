"""Domains of seeded classes that resemble real data sets, drawn family by family."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator, default_rng

from ...base import ConfigError, choose
from ..domains import Domain
from . import strokes, textures, things
from .canvas import Pictures, Streams


@dataclass(frozen=True)
class Family:
    """A kind of procedural domain.

    Args:
        cousin: the real data set that it resembles.
        recipe: a picture of `size` pixels for each image: `recipe(class's generator, domain's
            generator, images' generators, size)`.
    """

    name: str
    cousin: str
    recipe: Callable[[Generator, Generator, Streams, int], Pictures]


FAMILIES: dict[str, Family] = {
    recipe.__name__: Family(recipe.__name__, cousin, recipe)
    for recipe, cousin in [
        (strokes.characters, "Devanagari, MNIST"),
        (strokes.runes, "Omniglot"),
        (strokes.glyphs, "notMNIST"),
        (strokes.cursive, "KMNIST"),
        (strokes.sketches, "Quick, Draw!"),
        (strokes.circuits, "maps and circuit boards"),
        (strokes.plants, "herbaria, L-systems"),
        (textures.textures, "DTD"),
        (textures.land_cover, "EuroSAT"),
        (textures.radiographs, "PneumoniaMNIST"),
        (things.signs, "GTSRB"),
        (things.clothes, "Fashion-MNIST"),
        (things.hands, "Sign Language Digits"),
        (things.faces, "portraits, cartoon faces"),
        (things.objects, "CIFAR-10"),
        (textures.cells, "BCCD, BloodMNIST"),
        (things.fruits, "Fruits-360"),
        (things.leaves, "PlantVillage"),
    ]
}
HELD_OUT = ("circuits", "faces", "plants")  # for evaluation alone, never for training
TRAIN_FAMILIES = tuple(name for name in FAMILIES if name not in HELD_OUT)


def render(
    name: str,
    *,
    n_classes: int = 60,
    n_per_class: int = 20,
    size: int = 32,
    seed: int = 0,
    first_class: int = 0,
) -> Domain:
    """Draw classes first_class ... first_class + n_classes - 1 of a family.

    A class depends on (family, seed, its number) alone, an image on its class and its
    number: other counts give the same pictures, and disjoint ranges of classes share none.
    The seed also sets the look that the classes share (script, palette, background).

    Raises:
        ConfigError: if there is no such family, or a count, size or seed is too small.
    """
    family = choose(FAMILIES, name)
    if min(n_classes, n_per_class) < 1 or size < 8 or min(seed, first_class) < 0:
        raise ConfigError(
            f"need n_classes and n_per_class >= 1, size >= 8, seed and first_class >= 0; "
            f"got {n_classes}, {n_per_class}, {size}, {seed}, {first_class}"
        )
    numbers = range(first_class, first_class + n_classes)
    classes = [_draw_class(family, k, n_per_class, size, seed) for k in numbers]
    return Domain(
        name=name if seed == 0 else f"{name}-{seed}",
        images=np.concatenate(classes),
        labels=torch.arange(n_classes).repeat_interleave(n_per_class),
        class_names=tuple(f"{name} {number}" for number in numbers),
        licence="MIT",
        source=f"drawn by hyperlab; resembles {family.cousin}",
    )


def _draw_class(family: Family, number: int, n: int, size: int, seed: int) -> np.ndarray:
    """The images of one class, uint8 n x channels x size x size."""
    root = (zlib.crc32(family.name.encode()), seed)
    klass, theme = default_rng([*root, 1, number]), default_rng([*root, 0])
    rngs = (default_rng([*root, 2, number, j]) for j in range(n))
    stack = np.stack(list(family.recipe(klass, theme, rngs, size)))
    stack = (stack * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2)
