"""The networks of a zoo that generators are fitted to and judged by, and their images."""

from dataclasses import replace
from pathlib import Path

import torch

from ..base import ConfigError, choose
from ..models.cnn import Architecture
from . import align, recipes
from .novelty import Originals
from .recipes import RECIPES, Splits
from .zoo import Zoo

HELD_OUT = 0.2  # share of the networks that no generator is fitted to


def images_of(zoo: Zoo, n_eval: int, *, root: Path | str | None = None) -> Splits:
    """The images that a zoo's networks know, prepared as they are used to.

    Raises:
        ArtifactError: other images or labels lie there than when the zoo was trained.
    """
    network, recipe = zoo.architecture, choose(RECIPES, zoo.dataset)
    if isinstance(network, Architecture):  # else norm layers: it takes any image
        recipe = replace(recipe, architecture=network.name, channels=network.channels)
    splits = recipes.load(recipe, root=root)
    zoo.require(splits)
    return splits.first(0, n_eval)


def images_for(zoo: Zoo, target: str, *, root: Path | str | None = None) -> Splits:
    """The images of a target, prepared as the networks of a zoo are used to see images.

    Raises:
        DataMissingError: they are not there.
        ConfigError: there is no such data set, or it has another number of classes.
    """
    network, theirs = zoo.architecture, choose(RECIPES, target)
    own = choose(RECIPES, zoo.dataset)
    looks = {"centre": own.centre, "spread": own.spread, "channels": network.channels}
    recipe = replace(theirs, architecture=network.name, **looks)
    splits = recipes.load(recipe, root=root)
    if splits.n_classes != network.n_classes:
        raise ConfigError(
            f"networks of {zoo.dataset} tell {network.n_classes} classes apart, {target} has "
            f"{splits.n_classes}"
        )
    return splits


def originals_of(
    zoo: Zoo, splits: Splits, *, aligned: bool = True, generator: torch.Generator
) -> Originals:
    """The last epoch of many seeds, or the checkpoints of one run; a fifth is held out.

    Seeds are held out by chance and aligned to the mean of the others. Of one run the last
    checkpoints are held out, and nothing is aligned: its channels keep their places.
    """
    judged = (tuple(splits.val), tuple(splits.test))
    if len(zoo) == 1:
        n = round(zoo.w.shape[1] * (1 - HELD_OUT))
        return Originals(zoo.architecture, zoo.w[0, :n], zoo.w[0, n:], *judged)
    parts = zoo.split((1 - HELD_OUT, HELD_OUT), generator)
    train, held_out = (part.w[:, -1] for part in parts)
    if aligned:
        train, mean = align.align_zoo(zoo.architecture, train, generator=generator)
        held_out = align.align(zoo.architecture, held_out, mean, generator=generator)
    return Originals(zoo.architecture, train, held_out, *judged)
