"""Hierarchies of classes, through which Meta-Dataset chooses the classes of an episode."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..base import ConfigError


@dataclass(frozen=True)
class ClassGraph:
    """A hierarchy of classes, e.g. WordNet above ILSVRC-2012's; many parents are allowed.

    Args:
        parents: node -> the nodes right above it. Classes are found by their names.
    """

    parents: Mapping[str, Collection[str]]

    def pools(
        self, class_names: Sequence[str], *, at_least: int, at_most: int = 392
    ) -> list[list[int]]:
        """The classes below each inner node that spans neither too few nor too many.

        Raises:
            ConfigError: if no node does.

        Source: `meta_dataset/data/sampling.py`, which takes between 5 and 392 leaves.
        """
        below: dict[str, list[int]] = {}
        for number, name in enumerate(class_names):
            for node in self._ancestors(name):
                below.setdefault(node, []).append(number)
        pools = [below[node] for node in sorted(below)]
        eligible = [pool for pool in pools if at_least <= len(pool) <= at_most]
        if not eligible:
            sizes = sorted({len(pool) for pool in pools})
            raise ConfigError(
                f"no node of the graph spans {at_least} to {at_most} of the "
                f"{len(class_names)} classes; its nodes span {sizes}"
            )
        return eligible

    def _ancestors(self, name: str) -> set[str]:
        found: set[str] = set()
        waiting = list(self.parents.get(name, ()))
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting.extend(self.parents.get(node, ()))
        return found
